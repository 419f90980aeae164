"""Mutants of the checks of top_p."""

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain
from tests.conformance.mutations.requests import drop_fields


@mutant("top_p/draws-from-nucleus")
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "top_p")


@mutant("top_p/crossing-token-kept")
def crossing_token_dropped(model: Bundle) -> ASGIApp:
    """Keep only tokens whose cumulative sum is at most top_p."""
    return with_logits_chain(model, chain(top_p=dialects.top_p_without_crossing_token))


@mutant("top_p/after-temperature")
def before_temperature(model: Bundle) -> ASGIApp:
    """Use the nucleus at temperature 1."""
    return with_logits_chain(model, dialects.temperature_last)


@mutant("top_p/boundary-ties-kept")
def ties_cut(model: Bundle) -> ASGIApp:
    """Sort tokens, and cut those with higher ids among ties."""
    return with_logits_chain(model, chain(top_p=dialects.top_p_by_rank))


@mutant("top_p/zero-keeps-argmax")
def zero_as_one(model: Bundle) -> ASGIApp:
    """Keep all tokens with 0."""
    return with_logits_chain(model, chain(top_p=lambda x, h: l.top_p(x, h.params.top_p or 1.0)))


@mutant("top_p/off-at-one")
def capped(model: Bundle) -> ASGIApp:
    """Limit top_p to 0.7."""
    return with_logits_chain(model, chain(top_p=lambda x, h: l.top_p(x, min(h.params.top_p, 0.7))))
