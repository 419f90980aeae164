"""Rounds of measurements: throughput and latencies of each server under each workload."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.http.client import Outcome, run_workload
from benchmarks.http.servers import Server
from benchmarks.http.workloads import Workload, build, warm_up


@dataclass(frozen=True)
class Latencies:
    """Latencies of the requests of a group, in seconds: percentiles of the time to the first token
    (TTFT), and of the time between two events of a stream (inter-token latency, ITL).
    """

    ttft_p50: float
    ttft_p99: float
    itl_p50: float | None
    itl_p99: float | None


@dataclass(frozen=True)
class Row:
    """One workload on one server in one round.

    tokens_per_second: output tokens of the completed requests, by the time from the first request
    to the last end. latencies: by group; of the completed requests. errors: each kind once.
    """

    workload: str
    server: str
    round: int
    tokens_per_second: float
    seconds: float
    completed: int
    sent: int
    latencies: dict[str, Latencies]
    errors: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        return asdict(self)


def row(
    workload: Workload, server: str, number: int, seconds: float, outcomes: Sequence[Outcome]
) -> Row:
    """Return the measurement of one run."""
    completed = [outcome for outcome in outcomes if outcome.error is None]
    groups = dict.fromkeys(turn.group for client in workload.clients for turn in client.turns)
    values = {group: latencies([o for o in completed if o.group == group]) for group in groups}
    return Row(
        workload=workload.name,
        server=server,
        round=number,
        tokens_per_second=sum(outcome.num_tokens for outcome in completed) / seconds,
        seconds=seconds,
        completed=len(completed),
        sent=len(outcomes),
        latencies={group: value for group, value in values.items() if value is not None},
        errors=tuple(dict.fromkeys(o.error for o in outcomes if o.error is not None)),
    )


def latencies(outcomes: Sequence[Outcome]) -> Latencies | None:
    """Return the latencies of completed requests, None if there are none."""
    if not outcomes:
        return None
    first = [outcome.seconds[0] for outcome in outcomes]
    between = [b - a for outcome in outcomes for a, b in itertools.pairwise(outcome.seconds)]
    return Latencies(
        ttft_p50=percentile(first, 50),
        ttft_p99=percentile(first, 99),
        itl_p50=percentile(between, 50) if between else None,
        itl_p99=percentile(between, 99) if between else None,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` percent of the values do not exceed."""
    return float(np.percentile(values, share, method="inverted_cdf"))


def measure(
    servers: Sequence[Server],
    names: Sequence[str],
    rounds: int,
    seed: int,
    vocabulary: int,
    scale: float = 1.0,
) -> Iterator[Row]:
    """Yield the measurements of rounds, in which each workload runs on each server.

    A round begins with another server than the round before. A server was stopped before its turn,
    so it answers a small burst first. Raises ServerFailed if it does not complete that.
    """
    for number in range(rounds):
        start = number % len(servers)
        for name in names:
            workload = build(name, seed, number, vocabulary, scale)
            for server in (*servers[start:], *servers[:start]):
                with server.resumed():
                    asyncio.run(server.run(warm_up(seed, number, vocabulary)))
                    run = run_workload(server.url, server.model, workload)
                    seconds, outcomes = asyncio.run(run)
                yield row(workload, server.name, number, seconds, outcomes)
