"""Mutants of the checks of temperature."""

from starlette.types import ASGIApp

from conformance.oracle.dialects import chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain
from tests.conformance.mutations.requests import drop_fields, replace_field


@mutant("temperature/small-values-accepted")
def subnormal_refused(model: Bundle) -> ASGIApp:
    """Refuse a value for which float32 has no normal number."""
    return replace_field(
        conforming_app(model), "temperature", lambda t: -1 if t and t < 1e-38 else t
    )


@mutant("temperature/greedy-at-zero")
def zero_as_tenth(model: Bundle) -> ASGIApp:
    """Replace 0 by 0.1."""
    return with_logits_chain(
        model, chain(temperature=lambda x, h: l.temperature(x, h.params.temperature or 0.1))
    )


@mutant("temperature/no-temperature-floor", "temperature/subnormal-greedy")
def temperature_floor(model: Bundle) -> ASGIApp:
    """Raise a value above 0 to at least 0.1."""

    def step(x, h):  # type: ignore[no-untyped-def]
        value = h.params.temperature
        return l.temperature(x, max(value, 0.1) if value else 0)

    return with_logits_chain(model, chain(temperature=step))


@mutant("temperature/greedy-ignores-seed", "temperature/greedy-tie-lowest-id")
def ties_sampled(model: Bundle) -> ASGIApp:
    """Replace 0 by 10⁻⁶, at which ties are sampled."""
    step = chain(temperature=lambda x, h: l.temperature(x, max(h.params.temperature, 1e-6)))
    return with_logits_chain(model, step)


@mutant("temperature/subnormal-greedy")
def subnormal_raised(model: Bundle) -> ASGIApp:
    """Raise a value for which float32 has no normal number to one for which it has."""

    def step(x, h):  # type: ignore[no-untyped-def]
        value = h.params.temperature
        return l.temperature(x, max(value, 1e-37) if value else 0)

    return with_logits_chain(model, chain(temperature=step))


@mutant("temperature/greedy-tie-lowest-id")
def tie_highest_id(model: Bundle) -> ASGIApp:
    """Choose the last of several tokens that tie at temperature 0."""

    def step(x, h):  # type: ignore[no-untyped-def]
        if h.params.temperature >= l.MIN_TEMPERATURE:
            return l.temperature(x, h.params.temperature)
        return l.temperature(x[::-1], 0)[::-1]

    return with_logits_chain(model, chain(temperature=step))


@mutant("temperature/draws-match-logprobs", "temperature/softmax-of-divided-logits")
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "temperature")


@mutant("temperature/draws-match-logprobs")
def multiplied(model: Bundle) -> ASGIApp:
    """Multiply the logits instead of dividing them."""

    def step(x, h):  # type: ignore[no-untyped-def]
        value = h.params.temperature
        return l.temperature(x, 1 / value if value else 0)

    return with_logits_chain(model, chain(temperature=step))


@mutant("temperature/softmax-of-divided-logits")
def hidden_top_k(model: Bundle) -> ASGIApp:
    """Sample only the 40 most probable tokens."""
    return with_logits_chain(
        model, chain(top_k=lambda x, h: l.top_k(x, min(h.params.top_k or 40, 40)))
    )
