"""One request, from its prompt to its last token: prefill, then one decode loop per choice.

There is no batching: every other engine is compared with this one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from reference import sampler
from reference.bundle import Bundle
from reference.grammar.token_mask import GrammarMatcher
from reference.logits import Logits
from reference.logprobs import token_logprobs
from reference.model import llama, vision
from reference.model.llama import KVCache
from reference.prefix_cache import BLOCK_SIZE, Block, PrefixCache, block_hashes
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
ShouldAbort = Callable[[int | None], bool]


class Aborted(Exception):
    """The whole request was aborted."""


@dataclass(frozen=True)
class ProcessedPrompt:
    """Result of the prefill: the KV cache, and the hidden state of each prompt token."""

    cache: KVCache
    hidden_states: Float[np.ndarray, "T D"]
    cached_tokens: int


def generate(
    model: Bundle,
    request: Request,
    prefix_cache: PrefixCache | None = None,
    should_abort: ShouldAbort = lambda choice: False,
    sample: Sampler = sampler.sample,
) -> Iterator[Event]:
    """Yield the events of one request.

    Meaning:   `PromptProcessed`, then for each choice its `TokenGenerated` events, then
               `RequestFinished`. The `n` choices share one prefill and differ only in their noise.
    Boundary:  an aborted choice has no further event; the choices that remain are unchanged.
    Off value: n = 1.
    Example:   with n = 2 and one token per choice there are four events.
               >>> from reference.bundle import EMBEDDED, load_bundle
               >>> from reference.params import CompletionParams
               >>> request = Request.of([1], CompletionParams(n=2, max_tokens=1))
               >>> events = list(generate(load_bundle(EMBEDDED / "text"), request))
               >>> [type(event).__name__ for event in events]
               ['PromptProcessed', 'TokenGenerated', 'TokenGenerated', 'RequestFinished']
               >>> [event.choice for event in events[1:3]]
               [0, 1]

    should_abort(choice) is called before the first and after each token of a choice,
    should_abort(None) before every block of the prompt, in the prefill and again when the prompt's
    log-probabilities are computed. Raises ContextLengthExceeded if the prompt leaves no room for
    output, ValueError if the model's logits are not finite.
    """
    params = request.params
    token_budget(params.max_tokens, model.context, len(request.prompt))
    try:
        prompt = prefill(model, request, prefix_cache or PrefixCache(), should_abort)
        logprobs = prompt_logprobs(model, request, prompt, should_abort)
    except Aborted:
        yield RequestFinished()
        return
    yield PromptProcessed(cached_tokens=prompt.cached_tokens, prompt_logprobs=logprobs)
    for choice in range(params.n):
        if should_abort(choice):
            continue
        for token in generate_choice(model, request, prompt, choice, sample):
            yield token
            if should_abort(choice):
                break
    yield RequestFinished()


def prefill(
    model: Bundle, request: Request, prefix_cache: PrefixCache, should_abort: ShouldAbort
) -> ProcessedPrompt:
    """Run the model over the prompt, block by block, and reuse cached blocks. Raises Aborted."""
    weights, config = model.checkpoint.weights, model.checkpoint.config
    hashes = block_hashes(request)
    cached = prefix_cache.match_prefix(hashes)
    cache = KVCache.empty(config, weights.dtype)
    for block in cached:
        raise_if_aborted(should_abort)
        cache.append(block.keys, block.values)
    hidden_states = [block.hidden_states for block in cached]
    image_embeddings: dict[int, Float[np.ndarray, "I D"]] = {}  # by the start of the image's span
    # The rest of the prompt, in blocks that start at multiples of BLOCK_SIZE.
    for start in range(cache.length, len(request.prompt), BLOCK_SIZE):
        raise_if_aborted(should_abort)
        tokens_T, x_TD = block_embeddings(model, request, start, image_embeddings)
        hidden_states.append(llama.hidden_states(weights, config, tokens_T, cache, x_TD))
        if start // BLOCK_SIZE < len(hashes):  # a full block
            keys, values = cache.block(start, start + BLOCK_SIZE)
            prefix_cache.store(hashes[start // BLOCK_SIZE], Block(keys, values, hidden_states[-1]))
    return ProcessedPrompt(cache, np.concatenate(hidden_states), len(cached) * BLOCK_SIZE)


def block_embeddings(
    model: Bundle,
    request: Request,
    start: int,
    image_embeddings: dict[int, Float[np.ndarray, "I D"]],
) -> tuple[Integer[np.ndarray, "T"], Float[np.ndarray, "T D"]]:
    """Return the tokens of a block and their embeddings, with image embeddings at image positions.

    image_embeddings: those of the images encoded so far, by the start of the span; updated here.
    """
    weights, config = model.checkpoint.weights, model.checkpoint.config
    tokens_T = np.asarray(request.prompt[start : start + BLOCK_SIZE])
    stop = start + len(tokens_T)
    x_TD = llama.embedding(weights, config, tokens_T)
    for span in request.images_within(start, stop):
        if weights.vision is None or config.vision is None:
            raise ValueError("images: this model is text-only")
        if span.start not in image_embeddings:
            pixels = span.image.pixels
            image_embeddings[span.start] = vision.features(weights.vision, config.vision, pixels)
        # An image may begin before the block or end after it.
        begin, end = max(span.start, start), min(span.stop, stop)
        embeddings = image_embeddings[span.start][begin - span.start : end - span.start]
        x_TD[begin - start : end - start] = embeddings
    return tokens_T, x_TD


def raise_if_aborted(should_abort: ShouldAbort) -> None:
    """Raise Aborted if the whole request is to be aborted."""
    if should_abort(None):
        raise Aborted


def prompt_logprobs(
    model: Bundle, request: Request, prompt: ProcessedPrompt, should_abort: ShouldAbort
) -> tuple[TokenLogprobs | None, ...] | None:
    """Return the log-probability of each prompt token given those before it.

    None for the first token and at image positions. None as a whole unless the request has both
    `echo` and `logprobs`. Raises Aborted.
    """
    if not request.wants_prompt_logprobs:
        return None
    entries: list[TokenLogprobs | None] = [None]
    top = request.params.logprobs or 0
    for start in range(0, len(request.prompt) - 1, BLOCK_SIZE):
        raise_if_aborted(should_abort)
        x_TD = prompt.hidden_states[start : start + BLOCK_SIZE]
        logits_TV = llama.logits(model.checkpoint.weights, x_TD)
        next_tokens = request.prompt[start + 1 : start + 1 + BLOCK_SIZE]
        for logits, token in zip(logits_TV, next_tokens, strict=False):
            entries.append(token_logprobs(logits.astype(np.float32), token, top))
    for span in request.images:
        entries[span.start : span.stop] = [None] * (span.stop - span.start)
    return tuple(entries)


def generate_choice(
    model: Bundle, request: Request, prompt: ProcessedPrompt, choice: int, sample: Sampler
) -> Iterator[TokenGenerated]:
    """Yield the tokens of one choice: sample, report, then feed the token back to the model."""
    weights, config = model.checkpoint.weights, model.checkpoint.config
    params, eos = request.params, model.checkpoint.eos_token_ids
    budget = token_budget(params.max_tokens, model.context, len(request.prompt))
    history, grammar = initial_history(model, request), start_grammar(model, request)
    cache, x_TD = prompt.cache.copy(), prompt.hidden_states[-1:]
    for position in range(budget):
        if grammar is not None:
            history.allowed[:] = grammar.allowed()
        logits = llama.logits(weights, x_TD)[0].astype(np.float32)
        gumbel_noise = noise(request.seed, choice, position, model.vocab_size)
        token = sample(logits, history, gumbel_noise)
        finish_reason, stop_reason = finish(token, position + 1, budget, eos, params.stop_token_ids)
        top = params.logprobs
        yield TokenGenerated(
            choice=choice,
            token=token,
            logprobs=None if top is None else token_logprobs(logits, token, top),
            finish_reason=finish_reason,
            stop_reason=stop_reason,
        )
        if finish_reason is not None:
            return
        if grammar is not None:
            grammar.push(token)
        history.present[token] = True
        history.counts[token] += 1
        x_TD = llama.hidden_states(weights, config, np.array([token]), cache)


def start_grammar(model: Bundle, request: Request) -> GrammarMatcher | None:
    """Return the grammar matcher of a choice before its first token; None without a language.

    End-of-sequence and special stop tokens are allowed only where the output is complete. A stop
    token that is ordinary text is allowed wherever the grammar allows its text.
    """
    if request.language is None:
        return None
    eos, vocabulary = frozenset(model.checkpoint.eos_token_ids), model.vocabulary
    special_stops = frozenset(request.params.stop_token_ids) & vocabulary.disallowed_token_ids
    strip_space = vocabulary.strips_leading_space(request.prompt)
    end_tokens = eos | special_stops
    return GrammarMatcher(request.language, vocabulary, end_tokens, strip_space=strip_space)


def initial_history(model: Bundle, request: Request) -> sampler.SamplingHistory:
    """Return the sampling history of a choice before its first token: it has only the prompt."""
    eos, stops = model.checkpoint.eos_token_ids, request.params.stop_token_ids
    end_token_ids = frozenset(eos) | frozenset(stops)
    present = np.zeros(model.vocab_size, dtype=np.bool_)
    present[list(request.prompt)] = True
    return sampler.SamplingHistory(
        params=request.params,
        allowed=sampler.allowed_tokens(model.vocab_size, model.disallowed_token_ids, end_token_ids),
        present=present,
        counts=np.zeros(model.vocab_size, dtype=np.int64),
    )
