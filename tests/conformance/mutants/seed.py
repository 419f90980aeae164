"""Mutants of the checks of seed."""

from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.request import Request
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app, with_engine_requests
from tests.conformance.mutations.requests import drop_fields, mutate_body, replace_field


def with_seed(model: Bundle, change: Any) -> ASGIApp:
    """Change each seed that is sent."""
    return replace_field(
        conforming_app(model), "seed", lambda s: change(s) if isinstance(s, int) else s
    )


@mutant("seed/range")
def out_of_range_wrapped(model: Bundle) -> ASGIApp:
    """Take any integer modulo 2⁶⁴."""
    return with_seed(model, lambda s: s % 2**64)


@mutant("seed/same-seed-same-text", "seed/unseeded-differs")
def fixed_if_unseeded(model: Bundle) -> ASGIApp:
    """Ignore a seed, and use the same draws for all requests without one."""

    def change(body: Json) -> Json:
        return {**body, "seed": None} if body.get("seed") is not None else {**body, "seed": 42}

    return mutate_body(conforming_app(model), change)


@mutant("seed/same-seed-same-text")
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), "seed")


@mutant("seed/different-seeds-differ")
def sixteen_bits(model: Bundle) -> ASGIApp:
    """Use only 16 bits of the seed."""
    return with_seed(model, lambda s: s % 2**16)


@mutant("seed/all-64-bits")
def thirty_two_bits(model: Bundle) -> ASGIApp:
    """Use only 32 bits of the seed."""
    return with_seed(model, lambda s: s % 2**32)


@mutant("seed/all-64-bits")
def float64_seed(model: Bundle) -> ASGIApp:
    """Convert the seed to float64, which has 53 bits."""
    return with_seed(model, lambda s: int(float(s)) % 2**64)


@mutant("seed/modulo-2-64")
def sign_dropped(model: Bundle) -> ASGIApp:
    """Treat −1 as 1."""
    return with_seed(model, abs)


@mutant("seed/unseeded-differs")
def default_zero(model: Bundle) -> ASGIApp:
    """Use 0 if there is no seed."""
    return mutate_body(conforming_app(model), lambda b: b | {"seed": b.get("seed") or 0})


@mutant("seed/streaming-invariant")
def streams_reseeded(model: Bundle) -> ASGIApp:
    """Use other draws for a stream."""
    return mutate_body(
        conforming_app(model), lambda b: b | {"seed": b.get("seed", 0) + bool(b.get("stream"))}
    )


@mutant("seed/independent-of-other-fields")
def max_tokens_enters(model: Bundle) -> ASGIApp:
    """Mix max_tokens into the draws, as if noise were drawn for all positions at once."""
    return with_engine_requests(model, lambda r: reseeded(r, r.params.max_tokens or 0))


@mutant("seed/independent-of-other-fields")
def logprobs_enter(model: Bundle) -> ASGIApp:
    """Use another sampler if log-probabilities are requested."""
    return with_engine_requests(model, lambda r: reseeded(r, r.params.logprobs is not None))


def reseeded(request: Request, number: int) -> Request:
    """Return a request with another seed for each number."""
    return replace(request, seed=request.seed + number * 2**50)


@mutant("seed/draws-match-reference")
def other_generator(model: Bundle) -> ASGIApp:
    """Use another random number generator."""
    return with_seed(model, lambda s: (s * 6364136223846793005 + 1442695040888963407) % 2**64)
