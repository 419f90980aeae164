"""Simulation of the scheduler: throughput and latency of its policy on given arrivals, from a model
of what a launch costs. It needs no device and takes a second.

python -m benchmarks.simulation [--slots 32] [--row-ms 0.95] [--launch-cost 26] [--page-ms 0.4]
    [--arrivals FILE]

A launch takes (launch_cost + rows) · row_ms: reading the weights takes as long as the products of
`launch_cost` rows, and padding counts. Attention of a decode row takes page_ms for each page of its
context. The defaults fit 134M parameters in float32 on two cores.
FILE: a JSON list of [seconds, prompt tokens, output tokens], for example from the log of a server.
"""

import argparse
import json
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from jax_backend.launch import batch_size_buckets
from jax_backend.serving.scheduling.launches import smallest
from jax_backend.serving.scheduling.plan import RequestState, StepPlan
from jax_backend.serving.scheduling.scheduler import Scheduler
from jax_backend.serving.settings import PrefillLayout
from reference.params import CompletionParams
from reference.request import Request

PAGE_SIZE, SEGMENT_SIZE = 64, 32
Arrival = tuple[float, int, int]  # seconds, prompt tokens, output tokens

WORKLOADS: dict[str, list[Arrival]] = {
    "32 at once, 32 + 48": [(0.0, 32, 48)] * 32,
    "32 at once, 256 + 64": [(0.0, 256, 64)] * 32,
}


@dataclass
class Clock:
    """Simulated seconds, and when each request got its tokens."""

    now: float = 0.0
    tokens: dict[int, list[float]] = field(default_factory=dict)


def layouts(slots: int, launch_cost: int) -> dict[str, PrefillLayout]:
    """Return the layouts that are compared, by name."""
    of_batch = -(-slots // SEGMENT_SIZE)
    packed = PrefillLayout(segment_size=SEGMENT_SIZE, sizes=(1, 4, 8), launch_cost=launch_cost)
    waits = {
        f"packed, decode after {n} launches": replace(packed, launches_per_decode=n)
        for n in (2, 4, 8)
    }
    return {
        "one prompt per launch": replace(packed, sizes=(8,), is_packed=False),
        "packed": packed,
        "packed, with decode rows": replace(packed, mixed_sizes=(4 - of_batch, 8 - of_batch)),
        **waits,
    }


def poisson(rate: float, count: int, prompt: int, output: int, seed: int = 0) -> list[Arrival]:
    """Return `count` arrivals, `rate` per second on average."""
    rng, now, arrivals = random.Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(rate)
        arrivals.append((now, prompt, output))
    return arrivals


def simulate(
    arrivals: Iterable[Arrival],
    slots: int,
    layout: PrefillLayout,
    row_seconds: float,
    page_seconds: float,
) -> tuple[list[Arrival], Clock]:
    """Run the scheduler on arrivals until every request has its tokens."""
    queue = sorted(arrivals)
    context = 1 + max(prompt + output for _, prompt, output in queue)
    batch_sizes = batch_size_buckets(slots)
    scheduler = Scheduler(
        slots=slots,
        num_pages=(slots + len(queue)) * -(-context // PAGE_SIZE),
        page_size=PAGE_SIZE,
        layout=layout,
        batch_sizes=batch_sizes,
        context=context,
    )
    clock, arrived = Clock(), 0
    while arrived < len(queue) or scheduler.busy:
        if not scheduler.busy:
            clock.now = max(clock.now, queue[arrived][0])
        while arrived < len(queue) and queue[arrived][0] <= clock.now:
            _, prompt, output = queue[arrived]
            # A first token of its own keeps each prompt out of the others' cache.
            request = Request.of(
                [arrived, *[0] * (prompt - 1)], CompletionParams(max_tokens=output, seed=0)
            )
            scheduler.add(arrived, request, lambda event: None)
            arrived += 1
        plan = scheduler.schedule()
        clock.now += plan_rows(plan, slots, batch_sizes, layout) * row_seconds
        clock.now += sum(len(row.pages) for row in plan.rows) * page_seconds
        for row in plan.rows:
            state: RequestState = row.sequence.state
            row.sequence.tokens.append(0)
            clock.tokens.setdefault(state.request_id, []).append(clock.now)
            if len(row.sequence.tokens) == state.budget:
                scheduler.finish(row.sequence)
    return queue, clock


def plan_rows(
    plan: StepPlan, slots: int, batch_sizes: tuple[int, ...], layout: PrefillLayout
) -> int:
    """Return the cost of a step, in rows."""
    segments, cost = plan.num_segments * layout.segment_size, layout.launch_cost
    if plan.is_mixed:
        return cost + segments + slots
    prefill = cost + segments if segments else 0
    decode = cost + smallest(batch_sizes, len(plan.rows)) if plan.rows else 0
    return prefill + decode


def report(queue: list[Arrival], clock: Clock) -> str:
    """Return a table row: output tokens per second, first token p50 and p99, longest pause p99."""
    firsts = sorted(times[0] - queue[i][0] for i, times in clock.tokens.items())
    pauses = sorted(
        max(b - a for a, b in zip(times, times[1:], strict=False))
        for times in clock.tokens.values()
        if len(times) > 1
    )
    total = sum(len(times) for times in clock.tokens.values())
    p99 = int(0.99 * (len(firsts) - 1))
    return (
        f"{total / (clock.now - queue[0][0]):.0f} | {statistics.median(firsts):.2f} | "
        f"{firsts[p99]:.2f} | {pauses[int(0.99 * (len(pauses) - 1))]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.simulation")
    option = parser.add_argument
    option("--slots", type=int, default=32)
    option("--row-ms", type=float, default=0.95)
    option("--launch-cost", type=int, default=26)
    option("--page-ms", type=float, default=0.4)
    option("--arrivals", type=Path)
    options = parser.parse_args()
    workloads = WORKLOADS | {"Poisson 2/s, 200 + 64": poisson(2, 60, 200, 64)}
    if options.arrivals:
        recorded = json.loads(options.arrivals.read_text())
        workloads = {options.arrivals.name: [tuple(entry) for entry in recorded]}
    print("| arrivals | policy | tokens/s | first token p50, s | p99, s | longest pause p99, s |")
    print("|---|---|---|---|---|---|")
    for workload, arrivals in workloads.items():
        for name, layout in layouts(options.slots, options.launch_cost).items():
            seconds = options.row_ms / 1000, options.page_ms / 1000
            queue, clock = simulate(arrivals, options.slots, layout, *seconds)
            print(f"| {workload} | {name} | {report(queue, clock)} |")


if __name__ == "__main__":
    main()
