"""Sends many mixed requests, aborts a fifth of them, and checks that nothing is lost.

    python -m benchmarks.operation.soak --requests 100000 --seconds 3600

A run fails if a request has no answer or a 5xx, if the memory of the server grows by more than 2 %
after the first tenth, if a fixed set of requests has other answers at the end than at the start, or
if a page of the KV cache is still in use.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter

import httpx

from benchmarks.operation.load import Json, Outcome, client_of, send
from benchmarks.operation.server import ServerProcess, serving

PROMPTS = ("Once upon a time", "Q: What sound does a cow make?", "The", "One day, Lily", "{")
CLIENTS = 32
PROBES = 20
GROWTH = 1.02


def mixed_request(randomness: random.Random, model: str) -> Json:
    """Return a random request. It has a seed, so its answer is always the same."""
    body: Json = {
        "model": model,
        "prompt": randomness.choice(PROMPTS) + " and" * randomness.randrange(0, 30),
        "max_tokens": randomness.randrange(1, 24),
        "seed": randomness.randrange(2**32),
        "temperature": randomness.choice([0, 0.7, 1.2]),
        "stream": randomness.random() < 0.5,
    }
    optional: Json = {
        "n": randomness.randrange(2, 4),
        "echo": True,
        "logprobs": randomness.randrange(0, 6),
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.05,
        "repetition_penalty": 1.2,
        "stop": [".", "the"],
        "response_format": {"type": "regex", "regex": "[a-z ]{1,20}"},
    }
    names = randomness.sample(list(optional), randomness.randrange(0, 4))
    return body | {name: optional[name] for name in names}


async def probe_answers(address: str, model: str) -> list[str]:
    """Return the answers to a fixed set of requests."""
    randomness = random.Random("probes")
    bodies = [mixed_request(randomness, model) for _ in range(PROBES)]
    async with client_of(address) as client:
        outcomes = [await send(client, body) for body in bodies]
    return [f"{outcome.status} {outcome.text}" for outcome in outcomes]


async def run_load(
    server: ServerProcess, model: str, requests: int, aborts: float, seconds: float
) -> tuple[Counter[int], list[int]]:
    """Send the requests. Return how many ended with each status, and the memory after each tenth.

    Status 0 is an abort, and −1 a stream without an end.
    """
    statuses: Counter[int] = Counter()
    memory: list[int] = []
    randomness = random.Random("load")
    end, started = time.monotonic() + seconds, 0

    async def run(client: httpx.AsyncClient) -> None:
        nonlocal started
        while started < requests and time.monotonic() < end:
            started += 1
            if started % (requests // 10 or 1) == 0:
                memory.append(server.resident_bytes())
                print(f"{started} requests, {memory[-1] / 1e6:.1f} MB", file=sys.stderr)
            body = mixed_request(randomness, model)
            abort = randomness.random() < aborts
            outcome: Outcome = await send(
                client, body, abort_after=randomness.uniform(0.0, 0.1) if abort else None
            )
            statuses[outcome.status] += 1

    async with client_of(server.address) as client:
        await asyncio.gather(*(run(client) for _ in range(CLIENTS)))
    return statuses, memory


def failures(
    statuses: Counter[int], memory: list[int], before: list[str], after: list[str], usage: float
) -> list[str]:
    """Return what has gone wrong."""
    failed = [
        f"{count} requests ended with {status}"
        for status, count in statuses.items()
        if status < 0 or status >= 400
    ]
    if memory and max(memory[1:], default=0) > GROWTH * memory[0]:
        failed.append(f"memory grew from {memory[0] / 1e6:.1f} to {max(memory) / 1e6:.1f} MB")
    if before != after:
        failed.append("an answer has changed")
    if usage:
        failed.append(f"{usage:.3f} of the KV cache is still in use")
    return failed


async def soak(
    server: ServerProcess, model: str, requests: int, aborts: float, seconds: float
) -> list[str]:
    """Run the load between two probes, and return what has gone wrong."""
    before = await probe_answers(server.address, model)
    start = time.monotonic()
    statuses, memory = await run_load(server, model, requests, aborts, seconds)
    elapsed = time.monotonic() - start
    after = await probe_answers(server.address, model)
    count = sum(statuses.values())
    print(f"{count} requests in {elapsed:.0f} s: {dict(sorted(statuses.items()))}")
    print(f"memory after each tenth, MB: {[round(size / 1e6, 1) for size in memory]}")
    values = server.metrics()
    return failures(statuses, memory, before, after, values["kv_cache_usage_ratio"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--aborts", type=float, default=0.2, help="share of aborted requests")
    parser.add_argument("--seconds", type=float, default=3600, help="maximum time")
    parser.add_argument("--backend", default="jax")
    options = parser.parse_args()
    with serving("--backend", options.backend) as server:
        failed = asyncio.run(
            soak(server, "tiny-text", options.requests, options.aborts, options.seconds)
        )
    print("\n".join(f"FAILED: {failure}" for failure in failed) or "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
