"""Mutants of the checks of frequency_penalty."""

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain
from tests.conformance.mutations.requests import drop_fields


@mutant(
    "frequency_penalty/subtracted-per-occurrence",
    "frequency_penalty/greedy-matches-reference",
)
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "frequency_penalty")


@mutant(
    "frequency_penalty/subtracted-per-occurrence",
    "frequency_penalty/greedy-matches-reference",
)
def sign_flipped(model: Bundle) -> ASGIApp:
    """Add the penalty instead of subtracting it."""

    def step(x, h):  # type: ignore[no-untyped-def]
        return l.frequency_penalty(x, h.counts, -h.params.frequency_penalty)

    return with_logits_chain(model, chain(frequency_penalty=step))


@mutant("frequency_penalty/subtracted-per-occurrence")
def once_per_token(model: Bundle) -> ASGIApp:
    """Subtract the penalty once, however often a token occurs."""
    return with_logits_chain(model, chain(frequency_penalty=dialects.frequency_as_presence))


@mutant("frequency_penalty/prompt-not-counted", "frequency_penalty/output-only")
def prompt_counted(model: Bundle) -> ASGIApp:
    """Penalize tokens of the prompt, too."""
    name = "frequency_penalty"
    return with_logits_chain(model, chain(**{name: dialects.penalty_over_prompt_too(name)}))
