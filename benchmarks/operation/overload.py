"""Compares a server at its capacity with the same server at four times the load.

    python -m benchmarks.operation.overload --seconds 30

The capacity is the rate of answers with as many clients as the server admits sequences. Then
requests arrive at this rate, and at four times this rate. Under overload the goodput must stay, and
so must the latency of the requests that are admitted. A request has so many tokens that the client
needs little of the processor, which both share.
"""

import argparse
import asyncio
import statistics
from collections import Counter

from benchmarks.operation.load import Json, Outcome, closed_loop, open_loop, percentile
from benchmarks.operation.server import serving


def request(i: int) -> Json:
    return {"model": "tiny-text", "prompt": "Once upon a time", "max_tokens": 128, "seed": i}


def goodput(outcomes: list[Outcome], seconds: float) -> float:
    """Return the answers per second."""
    return sum(outcome.status == 200 for outcome in outcomes) / seconds


def p99(outcomes: list[Outcome]) -> float:
    """Return the 99th percentile of the latency of the answers, in seconds."""
    return percentile([outcome.seconds for outcome in outcomes if outcome.status == 200], 0.99)


async def compare(address: str, limit: int, seconds: float, factor: float, rounds: int) -> None:
    capacity = goodput(await closed_loop(address, request, limit, seconds), seconds)
    print(f"capacity: {capacity:.1f} answers per second")
    goodput_ratios, latency_ratios = [], []
    for _ in range(rounds):
        results = []
        for load in 1.0, factor:
            outcomes = await open_loop(address, request, load * capacity, seconds)
            results.append((goodput(outcomes, seconds), p99(outcomes)))
            statuses = dict(Counter(outcome.status for outcome in outcomes))
            print(
                f"{load:g} × capacity: goodput {results[-1][0]:.1f}/s, "
                f"p99 {results[-1][1]:.2f} s, statuses {statuses}"
            )
        (good, latency), (good_over, latency_over) = results
        goodput_ratios.append(good_over / good)
        latency_ratios.append(latency_over / latency)
        print(f"goodput ratio {goodput_ratios[-1]:.3f}, p99 ratio {latency_ratios[-1]:.2f}")
    print(
        f"median of {rounds}: goodput ratio {statistics.median(goodput_ratios):.3f}, "
        f"p99 ratio {statistics.median(latency_ratios):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--factor", type=float, default=4)
    parser.add_argument("--limit", type=int, default=32, help="--max-concurrency of the server")
    parser.add_argument("--backend", default="jax")
    options = parser.parse_args()
    arguments = ["--backend", options.backend, "--max-concurrency", str(options.limit)]
    with serving(*arguments) as server:
        asyncio.run(
            compare(server.address, options.limit, options.seconds, options.factor, options.rounds)
        )


if __name__ == "__main__":
    main()
