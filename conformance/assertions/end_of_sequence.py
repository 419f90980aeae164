"""Texts that come to an end by themselves, and what the reference makes of token ids."""

from collections.abc import Iterable, Sequence
from typing import Any

from conformance.assertions.next_token import naming
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle.sampling import PROMPTS
from conformance.oracle.truth import Truth
from conformance.verdicts import Inconclusive
from reference.logprobs import log_softmax
from reference.output_text import prompt_text, start_choice
from reference.params import CompletionParams
from reference.request import TokenGenerated
from reference.sampler import choose, final_logits
from reference.threefry import noise

# As good as any others: the random model of the checks' own tests ends with one of the first.
TRIED = range(12_500, 22_500)
LENGTH = 60
LAST_WORDS = ("A: A dog says woof.", "Q: What does a cat say?\nA: A cat says", "The end.")


def text_of(truth: Truth, prompt: str, ids: Sequence[int], finish_reason: Any) -> str:
    """The text of an output, from its ids."""
    words = truth.model.tokenizer
    text = start_choice(words, CompletionParams(), truth.ids(prompt), prompt_text(words, prompt))
    reasons = [None] * (len(ids) - 1) + [finish_reason]
    events = [
        TokenGenerated(choice=0, token=token, finish_reason=reason)
        for token, reason in zip(ids, reasons, strict=True)
    ]
    return "".join([text.push(event).text for event in events])


def first_token(truth: Truth, prompt: str, seed: int, **params: Any) -> int:
    """The first token that the reference draws."""
    step = truth.first(prompt, params)
    return choose(final_logits(step.logits, step.history), noise(seed, 0, 0, len(step.logits)))


def drawing(truth: Truth, tokens: Iterable[int], **params: Any) -> tuple[dict[str, Any], int]:
    """The fields of a request with which the reference draws one of some unlikely tokens first, and
    that token. Raises Inconclusive if none of many seeds does.
    """
    tokens = list(tokens)
    if not tokens:
        raise Inconclusive("the model has no such token")
    steps = {prompt: truth.first(prompt, params) for prompt in PROMPTS}
    final = {p: log_softmax(final_logits(s.logits, s.history)) for p, s in steps.items()}
    _, prompt, token = max((x[t], p, t) for p, x in final.items() for t in tokens)
    for seed in TRIED:
        if choose(final[prompt], noise(seed, 0, 0, len(final[prompt]))) == token:
            return {"prompt": prompt, "seed": seed, **params}, token
    raise Inconclusive(f"none of {len(TRIED)} seeds draws what is wanted of this model")


def ended(server: Server) -> tuple[dict[str, Any], Choice]:
    """A request whose text comes to its end, and the choice. Asked for once a run."""
    facts = server.target.facts
    if "ended" not in facts:
        facts["ended"] = try_to_end(server)
    found: tuple[dict[str, Any], Choice] = facts["ended"]
    return found


def try_to_end(server: Server) -> tuple[dict[str, Any], Choice]:
    rows = {"logprobs": 0, **naming(server)}
    for prompt in LAST_WORDS:
        fields: dict[str, Any] = {"prompt": prompt, "max_tokens": LENGTH, **rows}
        choice = server.ask(**fields).choice
        if choice.finish_reason == "stop":
            return fields, choice
    asked, _ = drawing(server.truth, server.truth.model.checkpoint.eos_token_ids, temperature=2)
    fields = {**asked, "max_tokens": 2, **rows}
    choice = server.ask(**fields).choice
    if choice.finish_reason != "stop":
        raise Inconclusive("no text of those tried came to its end")
    return fields, choice
