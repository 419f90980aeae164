"""min_p, broken."""

from dataclasses import replace

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import after_penalties, chain
from reference import logits as l
from reference.bundle import Bundle
from reference.sampler import final_logits
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


@mutant("min_p/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value out of range is moved to the nearest in it."""
    return clamping(whole(model), "min_p", 0, 1)


@mutant("min_p/what-is-no-number-is-refused")
def no_number_dropped(model: Bundle) -> ASGIApp:
    """What is no number is dropped."""
    return forgiving(whole(model), "min_p", is_number)


@mutant("min_p/the-ends-of-the-range-are-accepted")
def one_refused(model: Bundle) -> ASGIApp:
    """1 is a 422."""
    return replacing(whole(model), "min_p", lambda p: 2 if p == 1 else p)


@mutant("min_p/default-is-zero")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 0.05."""
    return defaulting(whole(model), "min_p", 0.05)


@mutant("min_p/one-keeps-the-likeliest")
def one_is_off(model: Bundle) -> ASGIApp:
    """1 keeps everything."""
    return steps(model, chain(min_p=lambda x, h: l.min_p(x, h.params.min_p % 1)))


@mutant("min_p/draws-from-what-is-kept", "min_p/one-keeps-the-likeliest")
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "min_p")


@mutant("min_p/draws-from-what-is-kept")
def of_logits(model: Bundle) -> ASGIApp:
    """The threshold is a share of the largest logit."""

    def final(x, h):  # type: ignore[no-untyped-def]
        kept = (x >= h.params.min_p * x.max()) | (x == x.max()) | (h.params.min_p == 0)
        return final_logits(
            x, replace(h, params=replace(h.params, min_p=0.0), allowed=h.allowed & kept)
        )

    return steps(model, final)


@mutant("min_p/is-relative-to-the-likeliest")
def absolute(model: Bundle) -> ASGIApp:
    """The threshold is a probability."""
    return steps(model, chain(min_p=dialects.min_p_absolute))


@mutant("min_p/comes-after-temperature")
def before_temperature(model: Bundle) -> ASGIApp:
    """The threshold is that of the distribution at temperature 1."""
    return steps(model, dialects.temperature_last)


@mutant("min_p/a-token-at-the-threshold-stays")
def strict(model: Bundle) -> ASGIApp:
    """A token at the threshold is dropped, but for one that is the likeliest."""
    return steps(model, chain(min_p=dialects.min_p_strict))


@mutant("min_p/comes-before-top-p")
def last(model: Bundle) -> ASGIApp:
    """It acts on what top_k and top_p have left."""
    return steps(model, after_penalties("temperature", "top_k", "top_p", "min_p"))
