"""presence_penalty, broken."""

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    clamping,
    defaulting,
    forgiving,
    is_number,
    replacing,
    steps,
    whole,
    without,
)


@mutant("presence_penalty/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value out of range is moved to the nearest in it."""
    return clamping(whole(model), "presence_penalty", -2, 2)


@mutant("presence_penalty/what-is-no-number-is-refused")
def no_number_dropped(model: Bundle) -> ASGIApp:
    """What is no number is dropped."""
    return forgiving(whole(model), "presence_penalty", is_number)


@mutant("presence_penalty/the-ends-of-the-range-are-accepted")
def none_below_zero(model: Bundle) -> ASGIApp:
    """A value below 0 is a 422."""
    return replacing(whole(model), "presence_penalty", lambda p: -3 if p and p < 0 else p)


@mutant("presence_penalty/default-is-zero")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 0.5."""
    return defaulting(whole(model), "presence_penalty", 0.5)


@mutant(
    "presence_penalty/is-subtracted-once",
    "presence_penalty/greedy-texts-are-those-of-the-reference",
)
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "presence_penalty")


@mutant(
    "presence_penalty/is-subtracted-once",
    "presence_penalty/greedy-texts-are-those-of-the-reference",
)
def added(model: Bundle) -> ASGIApp:
    """It is added."""

    def step(x, h):  # type: ignore[no-untyped-def]
        return l.presence_penalty(x, h.counts, -h.params.presence_penalty)

    return steps(model, chain(presence_penalty=step))


@mutant("presence_penalty/is-subtracted-once")
def as_frequency(model: Bundle) -> ASGIApp:
    """It is subtracted as often as a token was chosen."""
    return steps(model, chain(presence_penalty=dialects.as_frequency))


@mutant("presence_penalty/the-prompt-is-not-counted", "presence_penalty/only-the-output-counts")
def prompt_too(model: Bundle) -> ASGIApp:
    """Tokens of the prompt are penalised too."""
    name = "presence_penalty"
    return steps(model, chain(**{name: dialects.of_prompt_too(name)}))
