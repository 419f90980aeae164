"""frequency_penalty, broken."""

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


@mutant("frequency_penalty/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value out of range is moved to the nearest in it."""
    return clamping(whole(model), "frequency_penalty", -2, 2)


@mutant("frequency_penalty/what-is-no-number-is-refused")
def no_number_dropped(model: Bundle) -> ASGIApp:
    """What is no number is dropped."""
    return forgiving(whole(model), "frequency_penalty", is_number)


@mutant("frequency_penalty/the-ends-of-the-range-are-accepted")
def none_below_zero(model: Bundle) -> ASGIApp:
    """A value below 0 is a 422."""
    return replacing(whole(model), "frequency_penalty", lambda p: -3 if p and p < 0 else p)


@mutant("frequency_penalty/default-is-zero")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 0.5."""
    return defaulting(whole(model), "frequency_penalty", 0.5)


@mutant(
    "frequency_penalty/is-subtracted-for-each-time",
    "frequency_penalty/greedy-texts-are-those-of-the-reference",
)
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "frequency_penalty")


@mutant(
    "frequency_penalty/is-subtracted-for-each-time",
    "frequency_penalty/greedy-texts-are-those-of-the-reference",
)
def added(model: Bundle) -> ASGIApp:
    """It is added."""

    def step(x, h):  # type: ignore[no-untyped-def]
        return l.frequency_penalty(x, h.counts, -h.params.frequency_penalty)

    return steps(model, chain(frequency_penalty=step))


@mutant("frequency_penalty/is-subtracted-for-each-time")
def as_presence(model: Bundle) -> ASGIApp:
    """It is subtracted once, however often a token was chosen."""
    return steps(model, chain(frequency_penalty=dialects.as_presence))


@mutant("frequency_penalty/the-prompt-is-not-counted", "frequency_penalty/only-the-output-counts")
def prompt_too(model: Bundle) -> ASGIApp:
    """Tokens of the prompt are penalised too."""
    name = "frequency_penalty"
    return steps(model, chain(**{name: dialects.of_prompt_too(name)}))
