"""Bitwise identity of a request's output: alone, under concurrent load, from the prefix cache, and
after preemption.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from conformance.parity.harness.requests import Engine, RequestOutput, collect
from reference.request import Request

_principals = itertools.count()


class Difference(AssertionError):
    """An output that depends on other requests or on the state of the cache."""


def count_identical(large_cache: Engine, small_cache: Engine, requests: Sequence[Request]) -> int:
    """Run the requests concurrently, then each one alone with its prompt cached, each one alone
    without cache hits, and all of them concurrently on a cache that forces preemption. Return how
    many outputs were compared. Raises Difference.
    """
    together = collect(large_cache, requests)
    outputs = {
        "cached": [collect(large_cache, [r])[0] for r in requests],
        "alone": [collect(large_cache, [without_cache_hits(r)])[0] for r in requests],
        "small cache": collect(small_cache, requests),
    }
    for condition, others in outputs.items():
        for request, output, other in zip(requests, together, others, strict=True):
            assert_identical(request, output, other, condition)
    return len(requests)


def without_cache_hits(request: Request) -> Request:
    """Return the same request of a new principal, who shares no cache entries."""
    return replace(request, principal=f"principal {next(_principals)}")


def assert_identical(
    request: Request, together: RequestOutput, other: RequestOutput, condition: str
) -> None:
    """Raise Difference unless both outputs are complete and identical."""
    if together.error or other.error or together.content != other.content:
        raise Difference(f"{request}\ntogether: {together.content}\n{condition}: {other.content}")
