"""Mutants of the checks of presence_penalty."""

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain
from tests.conformance.mutations.requests import drop_fields


@mutant(
    "presence_penalty/subtracted-once",
    "presence_penalty/greedy-matches-reference",
)
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "presence_penalty")


@mutant(
    "presence_penalty/subtracted-once",
    "presence_penalty/greedy-matches-reference",
)
def sign_flipped(model: Bundle) -> ASGIApp:
    """Add the penalty instead of subtracting it."""

    def step(x, h):  # type: ignore[no-untyped-def]
        return l.presence_penalty(x, h.counts, -h.params.presence_penalty)

    return with_logits_chain(model, chain(presence_penalty=step))


@mutant("presence_penalty/subtracted-once")
def once_per_occurrence(model: Bundle) -> ASGIApp:
    """Subtract the penalty once per occurrence."""
    return with_logits_chain(model, chain(presence_penalty=dialects.presence_as_frequency))


@mutant("presence_penalty/prompt-not-counted", "presence_penalty/output-only")
def prompt_counted(model: Bundle) -> ASGIApp:
    """Penalize tokens of the prompt, too."""
    name = "presence_penalty"
    return with_logits_chain(model, chain(**{name: dialects.penalty_over_prompt_too(name)}))
