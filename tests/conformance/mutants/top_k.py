"""Mutants of the checks of top_k."""

import numpy as np
from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import after_penalties, chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app, with_logits_chain
from tests.conformance.mutations.requests import drop_fields, replace_field


@mutant("top_k/no-upper-limit")
def int32_limit(model: Bundle) -> ASGIApp:
    """Refuse a value that does not fit in int32."""
    return replace_field(conforming_app(model), "top_k", lambda k: -1 if k and k >= 2**31 else k)


@mutant("top_k/above-vocabulary-off")
def capped_at_40(model: Bundle) -> ASGIApp:
    """Limit top_k to 40."""
    return with_logits_chain(model, chain(top_k=lambda x, h: l.top_k(x, min(h.params.top_k, 40))))


@mutant("top_k/one-keeps-argmax", "top_k/draws-from-top-k")
def one_more(model: Bundle) -> ASGIApp:
    """Keep one more token."""

    def step(x, h):  # type: ignore[no-untyped-def]
        return l.top_k(x, h.params.top_k + 1 if h.params.top_k else 0)

    return with_logits_chain(model, chain(top_k=step))


@mutant("top_k/one-keeps-argmax", "top_k/draws-from-top-k")
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "top_k")


@mutant("top_k/draws-from-top-k")
def kth_dropped(model: Bundle) -> ASGIApp:
    """Drop the k-th token and its ties."""

    def step(x, h):  # type: ignore[no-untyped-def]
        if h.params.top_k < 2:
            return l.top_k(x, h.params.top_k)
        return np.where(x > np.sort(x)[-h.params.top_k], x, l.NEG_INF)

    return with_logits_chain(model, chain(top_k=step))


@mutant("top_k/boundary-ties-kept")
def ties_cut(model: Bundle) -> ASGIApp:
    """Sort tokens, and cut those with higher ids among ties."""
    return with_logits_chain(model, chain(top_k=dialects.top_k_by_rank))


@mutant("top_k/before-top-p")
def after_top_p(model: Bundle) -> ASGIApp:
    """Apply top_k to the tokens that top_p keeps."""
    return with_logits_chain(model, after_penalties("temperature", "min_p", "top_p", "top_k"))


@mutant("top_k/before-top-p")
def not_renormalized(model: Bundle) -> ASGIApp:
    """Use the nucleus of all tokens."""
    return with_logits_chain(model, dialects.top_p_before_truncation)
