"""One request, from its prompt to its last token. No batching, no cleverness: what every other
engine is held against.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from reference import sampler
from reference.bundle import Bundle
from reference.grammar.token_mask import Grammar
from reference.logits import Logits
from reference.logprobs import token_logprobs
from reference.model import llama, vision
from reference.model.llama import Cache
from reference.prefix_cache import BLOCK, Block, PrefixCache, block_hashes
from reference.request import (
    Event,
    PromptProcessed,
    Request,
    RequestFinished,
    TokenGenerated,
    TokenLogprobs,
)
from reference.stopping import finish, token_budget
from reference.threefry import noise

Sampler = Callable[[Logits, sampler.SamplingHistory, Logits], int]
Aborting = Callable[[int | None], bool]


class Aborted(Exception):
    """Nobody wants the rest of this request."""


@dataclass(frozen=True)
class Reading:
    """A prompt that the model has read: its keys and values, and the rows that the output head
    reads.
    """

    cache: Cache
    rows: Float[np.ndarray, "T D"]
    cached_tokens: int


def generate(
    model: Bundle,
    request: Request,
    prefixes: PrefixCache | None = None,
    aborted: Aborting = lambda choice: False,
    sample: Sampler = sampler.sample,
) -> Iterator[Event]:
    """Generate the events of one request: `PromptProcessed`, then for each choice its
    `TokenGenerated` events, then `RequestFinished`.

    The `n` choices share one reading of the prompt and differ in their noise alone. aborted(choice)
    is asked before every step, aborted(None) before every block of the prompt, whether it is read,
    known or reported; what it says ends the choice or the request. Raises ContextLengthExceeded if
    the prompt leaves no room, ValueError if the model's logits are not finite.
    """
    params = request.params
    token_budget(params.max_tokens, model.context, len(request.prompt))
    try:
        reading = read_prompt(model, request, prefixes or PrefixCache(), aborted)
        reports = prompt_reports(model, request, reading, aborted)
    except Aborted:
        yield RequestFinished()
        return
    yield PromptProcessed(cached_tokens=reading.cached_tokens, prompt_logprobs=reports)
    for choice in range(params.n):
        if aborted(choice):
            continue
        for token in choice_tokens(model, request, reading, choice, sample):
            yield token
            if aborted(choice):
                break
    yield RequestFinished()


def read_prompt(
    model: Bundle, request: Request, prefixes: PrefixCache, aborted: Aborting
) -> Reading:
    """Run the model over the prompt, block by block, reusing the blocks that are known. Raises
    Aborted.
    """
    weights, config = model.checkpoint.weights, model.checkpoint.config
    names = block_hashes(request)
    known = prefixes.longest(names)
    cache = Cache.empty(config, weights.dtype)
    for block in known:
        go_on(aborted)
        cache.append(block.keys, block.values)
    rows = [block.rows for block in known]
    seen: dict[int, Float[np.ndarray, "I D"]] = {}
    for start in range(cache.length, len(request.prompt), BLOCK):
        go_on(aborted)
        tokens_T, x_TD = block_input(model, request, start, seen)
        rows.append(llama.hidden_states(weights, config, tokens_T, cache, x_TD))
        if start // BLOCK < len(names):
            keys, values = cache.block(start, start + BLOCK)
            prefixes.store(names[start // BLOCK], Block(keys, values, rows[-1]))
    return Reading(cache, np.concatenate(rows), len(known) * BLOCK)


def block_input(
    model: Bundle, request: Request, start: int, seen: dict[int, Float[np.ndarray, "I D"]]
) -> tuple[Integer[np.ndarray, "T"], Float[np.ndarray, "T D"]]:
    """The tokens of a block, and what the model reads of them: the rows of the embedding, and those
    of an image where it stands. seen: the images that have been looked at, by where they start.
    """
    weights, config = model.checkpoint.weights, model.checkpoint.config
    tokens_T = np.asarray(request.prompt[start : start + BLOCK])
    x_TD = llama.embedding(weights, config, tokens_T)
    for placed in request.images_within(start, start + len(tokens_T)):
        if weights.vision is None or config.vision is None:
            raise ValueError("images: this model reads text only")
        if placed.start not in seen:
            seen[placed.start] = vision.features(weights.vision, config.vision, placed.image.pixels)
        first, last = max(placed.start, start), min(placed.stop, start + len(tokens_T))
        x_TD[first - start : last - start] = seen[placed.start][
            first - placed.start : last - placed.start
        ]
    return tokens_T, x_TD


def go_on(aborted: Aborting) -> None:
    """Raise Aborted if nobody wants the request any more."""
    if aborted(None):
        raise Aborted


def prompt_reports(
    model: Bundle, request: Request, reading: Reading, aborted: Aborting
) -> tuple[TokenLogprobs | None, ...] | None:
    """The log-probability of each prompt token given those before it; the first has none, nor has a
    place of an image. None if they are not asked for. Raises Aborted.
    """
    if not request.reports_prompt:
        return None
    found: list[TokenLogprobs | None] = [None]
    top = request.params.logprobs or 0
    for start in range(0, len(request.prompt) - 1, BLOCK):
        go_on(aborted)
        rows = llama.logits(model.checkpoint.weights, reading.rows[start : start + BLOCK])
        following = request.prompt[start + 1 : start + 1 + BLOCK]
        for row, token in zip(rows, following, strict=False):
            found.append(token_logprobs(row.astype(np.float32), token, top))
    for placed in request.images:
        found[placed.start : placed.stop] = [None] * (placed.stop - placed.start)
    return tuple(found)


def choice_tokens(
    model: Bundle, request: Request, reading: Reading, choice: int, sample: Sampler
) -> Iterator[TokenGenerated]:
    """The tokens of one choice, each drawn from what the model makes of all before it."""
    weights, config = model.checkpoint.weights, model.checkpoint.config
    params, eos = request.params, model.checkpoint.eos_token_ids
    budget = token_budget(params.max_tokens, model.context, len(request.prompt))
    history, grammar = initial_history(model, request), grammar_of(model, request)
    cache, row = reading.cache.copy(), reading.rows[-1:]
    for position in range(budget):
        if grammar is not None:
            history.allowed[:] = grammar.allowed()
        logits = llama.logits(weights, row)[0].astype(np.float32)
        drawn = noise(request.seed, choice, position, model.vocab_size)
        token = sample(logits, history, drawn)
        reason, stop = finish(token, position + 1, budget, eos, params.stop_token_ids)
        yield TokenGenerated(
            choice=choice,
            token=token,
            logprobs=None
            if params.logprobs is None
            else token_logprobs(logits, token, params.logprobs),
            finish_reason=reason,
            stop_reason=stop,
        )
        if reason is not None:
            return
        if grammar is not None:
            grammar.push(token)
        history.seen[token] = True
        history.counts[token] += 1
        row = llama.hidden_states(weights, config, np.array([token]), cache)


def grammar_of(model: Bundle, request: Request) -> Grammar | None:
    """What a choice must keep to, at its beginning. A stop token that is text is text here too."""
    if request.language is None:
        return None
    eos, vocabulary = frozenset(model.checkpoint.eos_token_ids), model.vocabulary
    ends = eos | (frozenset(request.params.stop_token_ids) & vocabulary.never)
    first = vocabulary.strips_leading_space(request.prompt)
    return Grammar(request.language, vocabulary, ends, first=first)


def initial_history(model: Bundle, request: Request) -> sampler.SamplingHistory:
    """What a choice looks back on before its first token: the prompt."""
    ends = frozenset(model.checkpoint.eos_token_ids) | frozenset(request.params.stop_token_ids)
    seen = np.zeros(model.vocab_size, dtype=np.bool_)
    seen[list(request.prompt)] = True
    return sampler.SamplingHistory(
        params=request.params,
        allowed=sampler.allowed_tokens(model.vocab_size, model.never, ends),
        seen=seen,
        counts=np.zeros(model.vocab_size, dtype=np.int64),
    )
