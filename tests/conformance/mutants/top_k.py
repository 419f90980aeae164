"""top_k, broken."""

import numpy as np
from starlette.types import ASGIApp

from conformance.oracle import dialects
from conformance.oracle.dialects import after_penalties, chain
from reference import logits as l
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    clamping,
    defaulting,
    replacing,
    steps,
    whole,
    without,
)


@mutant("top_k/out-of-range-is-refused")
def below_zero_is_off(model: Bundle) -> ASGIApp:
    """−1 is off."""
    return clamping(whole(model), "top_k", 0, 2**62)


@mutant("top_k/what-is-no-integer-is-refused")
def cut(model: Bundle) -> ASGIApp:
    """A fraction is cut."""
    return replacing(whole(model), "top_k", lambda k: int(k) if isinstance(k, float) else k)


@mutant("top_k/any-count-is-accepted")
def bounded(model: Bundle) -> ASGIApp:
    """A value that no int32 holds is a 422."""
    return replacing(whole(model), "top_k", lambda k: -1 if k and k >= 2**31 else k)


@mutant("top_k/default-is-zero")
def another_default(model: Bundle) -> ASGIApp:
    """The default is 40."""
    return defaulting(whole(model), "top_k", 40)


@mutant("top_k/beyond-the-vocabulary-is-off")
def limited(model: Bundle) -> ASGIApp:
    """It is limited to 40."""
    return steps(model, chain(top_k=lambda x, h: l.top_k(x, min(h.params.top_k, 40))))


@mutant("top_k/one-keeps-the-likeliest", "top_k/draws-from-the-likeliest")
def one_more(model: Bundle) -> ASGIApp:
    """One more is kept."""

    def step(x, h):  # type: ignore[no-untyped-def]
        return l.top_k(x, h.params.top_k + 1 if h.params.top_k else 0)

    return steps(model, chain(top_k=step))


@mutant("top_k/one-keeps-the-likeliest", "top_k/draws-from-the-likeliest")
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "top_k")


@mutant("top_k/draws-from-the-likeliest")
def strict(model: Bundle) -> ASGIApp:
    """What is as likely as the k-th likeliest is dropped, and that one too."""

    def step(x, h):  # type: ignore[no-untyped-def]
        if h.params.top_k < 2:
            return l.top_k(x, h.params.top_k)
        return np.where(x > np.sort(x)[-h.params.top_k], x, l.NEG_INF)

    return steps(model, chain(top_k=step))


@mutant("top_k/ties-at-the-boundary-stay")
def ties_cut(model: Bundle) -> ASGIApp:
    """Tokens are sorted, and those with the higher ids among equals are cut."""
    return steps(model, chain(top_k=dialects.top_k_by_rank))


@mutant("top_k/comes-before-top-p")
def after_top_p(model: Bundle) -> ASGIApp:
    """It acts on what top_p has left."""
    return steps(model, after_penalties("temperature", "min_p", "top_p", "top_k"))


@mutant("top_k/comes-before-top-p")
def not_renormalised(model: Bundle) -> ASGIApp:
    """The nucleus is one of all tokens."""
    return steps(model, dialects.top_p_of_everything)
