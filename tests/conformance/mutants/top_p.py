"""top_p, broken."""

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    asking,
    defaulting,
    forgiving,
    is_number,
    steps,
    whole,
    without,
)


@mutant("top_p/out-of-range-is-refused")
def clamped(model: Bundle) -> ASGIApp:
    """A value out of range is moved to the nearest in it."""

    def clamp(body: dict) -> dict:  # type: ignore[type-arg]
        return body | {"top_p": min(max(body.get("top_p", 1), 0), 1)}

    return asking(whole(model), clamp)


@mutant("top_p/draws-from-the-nucleus")
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "top_p")


@mutant("top_p/keeps-the-crossing-token")
def crossing_token_dropped(model: Bundle) -> ASGIApp:
    """Only what is whole below the mass is kept."""
    return steps(model, chain(top_p=dialects.crossing_dropped))


@mutant("top_p/comes-after-temperature")
def before_temperature(model: Bundle) -> ASGIApp:
    """The nucleus is the one at temperature 1."""
    return steps(model, dialects.temperature_last)


@mutant("top_p/ties-at-the-boundary-stay")
def ties_cut(model: Bundle) -> ASGIApp:
    """Tokens are sorted, and those with the higher ids among equals are cut."""
    return steps(model, chain(top_p=dialects.top_p_by_rank))


@mutant("top_p/zero-keeps-the-likeliest")
def zero_is_off(model: Bundle) -> ASGIApp:
    """0 keeps everything."""
    return steps(model, chain(top_p=lambda x, h: l.top_p(x, h.params.top_p or 1.0)))


@mutant("top_p/the-ends-of-the-range-are-accepted")
def zero_is_refused(model: Bundle) -> ASGIApp:
    """0 is a 422."""
    return asking(whole(model), lambda b: b | ({"top_p": -1} if b.get("top_p") == 0 else {}))


@mutant("top_p/what-is-no-number-is-refused")
def no_number_dropped(model: Bundle) -> ASGIApp:
    """What is no number is dropped."""
    return forgiving(whole(model), "top_p", is_number)


@mutant("top_p/default-is-one")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 0.95."""
    return defaulting(whole(model), "top_p", 0.95)


@mutant("top_p/one-is-off")
def at_most(model: Bundle) -> ASGIApp:
    """Nothing counts as more than 0.7."""
    return steps(model, chain(top_p=lambda x, h: l.top_p(x, min(h.params.top_p, 0.7))))
