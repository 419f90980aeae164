"""Replicas behind a router."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.replica import Replica, Served

MAX_SIMULATED = 16  # replicas

Router = Callable[[Arrival, Sequence[Replica]], Replica]


def by_session(arrival: Arrival, replicas: Sequence[Replica]) -> Replica:
    """Choose by a hash of the session, so that its prefix is in the cache."""
    return replicas[random.Random(arrival.session).randrange(len(replicas))]


def at_random(arrival: Arrival, replicas: Sequence[Replica]) -> Replica:
    return replicas[random.Random(repr(arrival)).randrange(len(replicas))]


def least_loaded(arrival: Arrival, replicas: Sequence[Replica]) -> Replica:
    """Choose the replica with the fewest unfinished requests."""
    return min(replicas, key=lambda replica: replica.unfinished)


ROUTERS: dict[str, Router] = {
    "session": by_session,
    "random": at_random,
    "least loaded": least_loaded,
}


@dataclass(frozen=True)
class Outcome:
    """The service of a number of replicas. first_token: sorted seconds. cached_share: of prompt
    tokens. tokens_per_second: of output, in all.
    """

    first_token: Sequence[float]
    cached_share: float
    tokens_per_second: float

    def percentile(self, share: float) -> float:
        """Return a percentile of the time to the first token; 0 without requests."""
        if not self.first_token:
            return 0.0
        return self.first_token[min(len(self.first_token) - 1, int(len(self.first_token) * share))]


def simulate(arrivals: Sequence[Arrival], count: int, router: str, costs: Costs) -> Outcome:
    """Send arrivals, in order, to `count` replicas."""
    choose = ROUTERS[router]
    replicas = [Replica(costs) for _ in range(count)]
    for i, arrival in enumerate(arrivals):
        if router == "least loaded":
            for replica in replicas:
                replica.advance(arrival.seconds)
        replica = choose(arrival, replicas)
        replica.advance(arrival.seconds)
        replica.submit(i, arrival)
    for replica in replicas:
        replica.advance(math.inf)
    served: list[Served] = [request for replica in replicas for request in replica.served]
    first = sorted(request.first_token for request in served)
    start = min((request.arrival.seconds for request in served), default=0.0)
    end = max((request.seconds for request in served), default=1.0)
    tokens = sum(request.arrival.output_tokens for request in served)
    return Outcome(first, cached_share(replicas), tokens / (end - start))


def cached_share(replicas: Sequence[Replica]) -> float:
    """Return the share of prompt tokens that were in a prefix cache."""
    queues = [replica.scheduler.prefills for replica in replicas]
    queried = sum(queue.num_queried_tokens for queue in queues)
    return sum(queue.num_cached_tokens for queue in queues) / max(1, queried)
