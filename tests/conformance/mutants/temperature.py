"""temperature, broken."""

from starlette.types import ASGIApp

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


@mutant("temperature/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value out of range is moved to the nearest in it."""
    return clamping(whole(model), "temperature", 0, 2)


@mutant("temperature/what-is-no-number-is-refused")
def no_number_dropped(model: Bundle) -> ASGIApp:
    """What is no number is dropped."""
    return forgiving(whole(model), "temperature", is_number)


@mutant("temperature/the-ends-of-the-range-are-accepted")
def zero_refused(model: Bundle) -> ASGIApp:
    """0 is a 422."""
    return replacing(whole(model), "temperature", lambda t: -1 if t == 0 else t)


@mutant("temperature/small-values-are-accepted")
def subnormal_refused(model: Bundle) -> ASGIApp:
    """What float32 has no normal number for is a 422."""
    return replacing(whole(model), "temperature", lambda t: -1 if t and t < 1e-38 else t)


@mutant("temperature/default-is-one")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 0.7."""
    return defaulting(whole(model), "temperature", 0.7)


@mutant("temperature/zero-is-greedy")
def zero_is_small(model: Bundle) -> ASGIApp:
    """0 is replaced by 0.1."""
    return steps(
        model, chain(temperature=lambda x, h: l.temperature(x, h.params.temperature or 0.1))
    )


@mutant("temperature/nearly-zero-is-greedy", "temperature/below-the-smallest-float-is-zero")
def floor(model: Bundle) -> ASGIApp:
    """Above 0 nothing counts as less than 0.1."""

    def step(x, h):  # type: ignore[no-untyped-def]
        value = h.params.temperature
        return l.temperature(x, max(value, 0.1) if value else 0)

    return steps(model, chain(temperature=step))


@mutant("temperature/zero-ignores-the-seed", "temperature/of-equals-the-lowest-id")
def ties_drawn(model: Bundle) -> ASGIApp:
    """Greedy is a temperature of 10⁻⁶, at which ties are drawn."""
    step = chain(temperature=lambda x, h: l.temperature(x, max(h.params.temperature, 1e-6)))
    return steps(model, step)


@mutant("temperature/below-the-smallest-float-is-zero")
def no_smallest(model: Bundle) -> ASGIApp:
    """A value that float32 has no normal number for is the smallest that it has one for."""

    def step(x, h):  # type: ignore[no-untyped-def]
        value = h.params.temperature
        return l.temperature(x, max(value, 1e-37) if value else 0)

    return steps(model, chain(temperature=step))


@mutant("temperature/of-equals-the-lowest-id")
def the_last_of_equals(model: Bundle) -> ASGIApp:
    """Greedy takes the last of several."""

    def step(x, h):  # type: ignore[no-untyped-def]
        if h.params.temperature >= l.SMALLEST_TEMPERATURE:
            return l.temperature(x, h.params.temperature)
        return l.temperature(x[::-1], 0)[::-1]

    return steps(model, chain(temperature=step))


@mutant("temperature/draws-as-reported", "temperature/divides-the-logits")
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "temperature")


@mutant("temperature/draws-as-reported")
def upside_down(model: Bundle) -> ASGIApp:
    """It multiplies."""

    def step(x, h):  # type: ignore[no-untyped-def]
        value = h.params.temperature
        return l.temperature(x, 1 / value if value else 0)

    return steps(model, chain(temperature=step))


@mutant("temperature/divides-the-logits")
def unlikely_tokens_dropped(model: Bundle) -> ASGIApp:
    """Only the 40 likeliest tokens are ever drawn."""
    return steps(model, chain(top_k=lambda x, h: l.top_k(x, min(h.params.top_k or 40, 40))))
