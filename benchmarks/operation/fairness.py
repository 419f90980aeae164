"""Measures how much the flood of one principal delays another principal.

    python -m benchmarks.operation.fairness --seconds 30

The small principal sends one request at a time: first alone, then while the other keeps ten times
as many requests in flight.
"""

import argparse
import asyncio

from benchmarks.operation.load import Json, Outcome, closed_loop, percentile
from benchmarks.operation.server import serving

SMALL, LARGE = "small-key", "large-key"


def request(i: int) -> Json:
    return {"model": "tiny-text", "prompt": "Once upon a time", "max_tokens": 24, "seed": i}


def p99(outcomes: list[Outcome]) -> float:
    assert all(outcome.status == 200 for outcome in outcomes)
    return percentile([outcome.seconds for outcome in outcomes], 0.99)


async def compare(address: str, seconds: float, factor: int) -> None:
    alone = await closed_loop(address, request, 1, seconds, SMALL)
    together, flood = await asyncio.gather(
        closed_loop(address, request, 1, seconds, SMALL),
        closed_loop(address, request, factor, seconds, LARGE),
    )
    print(f"small alone: {len(alone)} answers, p99 {p99(alone):.3f} s")
    print(f"small next to {factor} × the load: {len(together)} answers, p99 {p99(together):.3f} s")
    print(f"large: {len(flood)} answers, p99 {p99(flood):.3f} s")
    print(f"p99 ratio {p99(together) / p99(alone):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--factor", type=int, default=10)
    parser.add_argument("--backend", default="jax")
    options = parser.parse_args()
    keys = ["--api-key", SMALL, "--api-key", LARGE]
    with serving("--backend", options.backend, *keys) as server:
        asyncio.run(compare(server.address, options.seconds, options.factor))


if __name__ == "__main__":
    main()
