"""Mutants of the checks of min_p."""

from dataclasses import replace

from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import after_penalties, chain
from reference import logits as l
from reference.bundle import Bundle
from reference.sampler import final_logits
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain
from tests.conformance.mutations.requests import drop_fields


@mutant("min_p/one-keeps-argmax")
def one_as_zero(model: Bundle) -> ASGIApp:
    """Keep all tokens with 1."""
    return with_logits_chain(model, chain(min_p=lambda x, h: l.min_p(x, h.params.min_p % 1)))


@mutant("min_p/draws-from-kept-tokens", "min_p/one-keeps-argmax")
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "min_p")


@mutant("min_p/draws-from-kept-tokens")
def share_of_logit(model: Bundle) -> ASGIApp:
    """Use a fraction of the largest logit as the threshold."""

    def final(x, h):  # type: ignore[no-untyped-def]
        kept = (x >= h.params.min_p * x.max()) | (x == x.max()) | (h.params.min_p == 0)
        return final_logits(
            x, replace(h, params=replace(h.params, min_p=0.0), allowed=h.allowed & kept)
        )

    return with_logits_chain(model, final)


@mutant("min_p/relative-to-maximum")
def absolute_threshold(model: Bundle) -> ASGIApp:
    """Use min_p itself as the threshold."""
    return with_logits_chain(model, chain(min_p=dialects.min_p_absolute))


@mutant("min_p/after-temperature")
def before_temperature(model: Bundle) -> ASGIApp:
    """Apply the threshold to the distribution at temperature 1."""
    return with_logits_chain(model, dialects.temperature_last)


@mutant("min_p/threshold-ties-kept")
def threshold_ties_dropped(model: Bundle) -> ASGIApp:
    """Drop a token at the threshold, except for the first argmax."""
    return with_logits_chain(model, chain(min_p=dialects.min_p_strict))


@mutant("min_p/before-top-p")
def after_top_p(model: Bundle) -> ASGIApp:
    """Apply min_p to the tokens that top_k and top_p keep."""
    return with_logits_chain(model, after_penalties("temperature", "top_k", "top_p", "min_p"))
