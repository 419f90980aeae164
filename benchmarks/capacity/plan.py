"""The smallest number of replicas that holds a load."""

from collections.abc import Sequence

from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.cluster import Outcome, simulate
from benchmarks.capacity.costs import Costs

MAX_REPLICAS = 512


def smallest_count(
    arrivals: Sequence[Arrival], router: str, costs: Costs, ttft_p99: float
) -> tuple[int, Outcome]:
    """Return the smallest number of replicas whose 99th percentile of the time to the first token
    is at most ttft_p99 seconds, and what they give. Raises ValueError if MAX_REPLICAS do not.
    """
    too_few, enough = 0, 1
    outcome = simulate(arrivals, enough, router, costs)
    while outcome.percentile(0.99) > ttft_p99:
        too_few, enough = enough, enough * 2
        if enough > MAX_REPLICAS:
            raise ValueError(
                f"ttft-p99: {MAX_REPLICAS} replicas do not reach {ttft_p99:g} s: a single request "
                "takes longer"
            )
        outcome = simulate(arrivals, enough, router, costs)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        candidate = simulate(arrivals, middle, router, costs)
        if candidate.percentile(0.99) > ttft_p99:
            too_few = middle
        else:
            enough, outcome = middle, candidate
    return enough, outcome
