"""seed, broken."""

from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.request import Request
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    asking,
    replacing,
    telling,
    whole,
    without,
)


def seeded(model: Bundle, change: Any) -> ASGIApp:
    """Each seed that is asked for becomes another."""
    return replacing(whole(model), "seed", lambda s: change(s) if isinstance(s, int) else s)


@mutant("seed/out-of-range-is-refused")
def wrapped(model: Bundle) -> ASGIApp:
    """Any integer is taken modulo 2⁶⁴."""
    return seeded(model, lambda s: s % 2**64)


@mutant("seed/what-is-no-integer-is-refused")
def hashed(model: Bundle) -> ASGIApp:
    """A string is hashed."""
    return replacing(whole(model), "seed", lambda s: len(s) if isinstance(s, str) else s)


@mutant("seed/the-ends-of-the-range-are-accepted")
def none_below_zero(model: Bundle) -> ASGIApp:
    """A value below 0 is a 422."""
    return seeded(model, lambda s: 2**64 if s < 0 else s)


@mutant("seed/one-seed-one-text", "seed/without-one-chance-is-fresh")
def only_once(model: Bundle) -> ASGIApp:
    """It is dropped, but of those that ask for none all have the same chance."""

    def change(body: Json) -> Json:
        return {**body, "seed": None} if body.get("seed") is not None else {**body, "seed": 42}

    return asking(whole(model), change)


@mutant("seed/one-seed-one-text")
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "seed")


@mutant("seed/other-seeds-other-texts")
def sixteen_bits(model: Bundle) -> ASGIApp:
    """Only 16 bits of it count."""
    return seeded(model, lambda s: s % 2**16)


@mutant("seed/all-bits-count")
def thirty_two_bits(model: Bundle) -> ASGIApp:
    """Only 32 bits of it count."""
    return seeded(model, lambda s: s % 2**32)


@mutant("seed/all-bits-count")
def a_float(model: Bundle) -> ASGIApp:
    """It passes through a number with 53 bits."""
    return seeded(model, lambda s: int(float(s)) % 2**64)


@mutant("seed/counts-modulo-two-to-the-64")
def without_its_sign(model: Bundle) -> ASGIApp:
    """−1 is 1."""
    return seeded(model, abs)


@mutant("seed/without-one-chance-is-fresh")
def always_the_same(model: Bundle) -> ASGIApp:
    """Without one it is 0."""
    return asking(whole(model), lambda b: b | {"seed": b.get("seed") or 0})


@mutant("seed/streamed-or-not")
def a_stream_has_its_own(model: Bundle) -> ASGIApp:
    """Events are drawn with another chance than a whole answer."""
    return asking(whole(model), lambda b: b | {"seed": b.get("seed", 0) + bool(b.get("stream"))})


@mutant("seed/nothing-else-enters")
def max_tokens_enters(model: Bundle) -> ASGIApp:
    """What is drawn depends on max_tokens, as where noise is made for all positions at once."""
    return telling(model, lambda r: reseeded(r, r.params.max_tokens or 0))


@mutant("seed/nothing-else-enters")
def logprobs_enter(model: Bundle) -> ASGIApp:
    """With log-probabilities tokens are drawn on another path, with another chance."""
    return telling(model, lambda r: reseeded(r, r.params.logprobs is not None))


def reseeded(request: Request, number: int) -> Request:
    return replace(request, seed=request.seed + number * 2**50)


@mutant("seed/draws-are-those-of-the-reference")
def a_generator_of_its_own(model: Bundle) -> ASGIApp:
    """Each seed is another's."""
    return seeded(model, lambda s: (s * 6364136223846793005 + 1442695040888963407) % 2**64)
