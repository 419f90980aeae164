"""Mutants of the checks of repetition_penalty."""

from collections import deque

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import chain, repetition_penalty_over
from reference import sampler
from reference.bundle import Bundle
from reference.logits import Logits
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain, with_sampler
from tests.conformance.mutations.requests import drop_fields, replace_field


@mutant("repetition_penalty/off-at-one")
def never_off(model: Bundle) -> ASGIApp:
    """Treat 1 as 1.1."""
    return replace_field(
        conforming_app(model), "repetition_penalty", lambda p: 1.1 if p == 1 else p
    )


@mutant(
    "repetition_penalty/new-tokens-unchanged",
    "repetition_penalty/prompt-counted",
    "repetition_penalty/greedy-matches-reference",
)
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "repetition_penalty")


@mutant("repetition_penalty/new-tokens-unchanged")
def new_tokens_penalized(model: Bundle) -> ASGIApp:
    """Apply the penalty to the tokens that are in neither prompt nor output."""
    return with_logits_chain(
        model, chain(repetition_penalty=repetition_penalty_over(lambda h: ~h.present))
    )


@mutant("repetition_penalty/prompt-counted", "repetition_penalty/prompt-and-output-counted")
def output_only(model: Bundle) -> ASGIApp:
    """Apply the penalty only to the tokens of the output."""
    return with_logits_chain(
        model, chain(repetition_penalty=repetition_penalty_over(lambda h: h.counts > 0))
    )


@mutant("repetition_penalty/prompt-and-output-counted")
def prompt_only(model: Bundle) -> ASGIApp:
    """Apply the penalty only to the tokens of the prompt."""
    prompt = repetition_penalty_over(lambda h: h.present & (h.counts == 0))
    return with_logits_chain(model, chain(repetition_penalty=prompt))


@mutant("repetition_penalty/greedy-matches-reference")
def sliding_window(model: Bundle) -> ASGIApp:
    """Apply the penalty to the last 4 tokens of the output, and to the prompt."""
    last: dict[int, tuple[sampler.SamplingHistory, deque[int]]] = {}  # by identity

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        _, recent = last.setdefault(id(history), (history, deque(maxlen=4)))
        present = history.present & (history.counts == 0)
        present[list(recent)] = True
        token = sampler.sample(logits, dialects.replace(history, present=present), noise)
        recent.append(token)
        return token

    return with_sampler(model, sample)


@mutant("repetition_penalty/negative-logits-multiplied")
def negative_logits_divided(model: Bundle) -> ASGIApp:
    """Divide logits of either sign."""
    return with_logits_chain(model, chain(repetition_penalty=dialects.repetition_always_divides))


@mutant("repetition_penalty/occurrences-not-counted")
def once_per_occurrence(model: Bundle) -> ASGIApp:
    """Apply the penalty once per occurrence of a token."""
    return with_logits_chain(model, chain(repetition_penalty=dialects.repetition_per_occurrence))
