"""Completions servers under load: concurrent requests over loopback HTTP, in interleaved runs.

    python -m benchmarks.http engine=http://127.0.0.1:8000/v1 peer=http://127.0.0.1:8001/v1

Unstreamed requests give tokens per second, by the servers' own `usage`. Streamed requests give the
time to the first token and the time between events.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from rich.console import Console
from rich.table import Table

PROG = "python -m benchmarks.http"
DESCRIPTION = "Measure completions servers under load, in interleaved runs."
_fresh = itertools.count()
WORDS = "the dog went to a park and saw kite ball boat hat".split()


@dataclass(frozen=True)
class Server:
    """A server, from NAME=URL, and the id of the model that it serves."""

    name: str
    url: str
    model: str


def body(server: Server, tokens: int, stream: bool) -> dict[str, object]:
    """Return a request that hits no prefix cache. llama.cpp's default penalty is switched off."""
    number = next(_fresh)
    words = (WORDS[(number // len(WORDS) ** i) % len(WORDS)] for i in range(8))
    return {
        "model": server.model,
        "prompt": f"{number}. Once upon a time {' '.join(words)}",
        "max_tokens": tokens,
        "temperature": 0,
        "repeat_penalty": 1.0,
        "stream": stream,
    }


async def unstreamed(http: httpx.AsyncClient, server: Server, tokens: int) -> int:
    """Send one request and return the number of output tokens."""
    reply = await http.post(f"{server.url}/completions", json=body(server, tokens, False))
    reply.raise_for_status()
    return int(reply.json()["usage"]["completion_tokens"])


async def streamed(http: httpx.AsyncClient, server: Server, tokens: int) -> list[float]:
    """Send one request and return the seconds until each event of its stream."""
    begin, times = time.perf_counter(), []
    request = http.stream("POST", f"{server.url}/completions", json=body(server, tokens, True))
    async with request as reply:
        reply.raise_for_status()
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                times.append(time.perf_counter() - begin)
    return times


async def rate(http: httpx.AsyncClient, server: Server, together: int, tokens: int) -> float:
    """Return tokens per second of concurrent requests."""
    begin = time.perf_counter()
    counts = await asyncio.gather(*(unstreamed(http, server, tokens) for _ in range(together)))
    return sum(counts) / (time.perf_counter() - begin)


async def latencies(
    http: httpx.AsyncClient, server: Server, together: int, tokens: int
) -> tuple[list[float], list[float]]:
    """Return the seconds to the first event of each stream, and between events."""
    requests = (streamed(http, server, tokens) for _ in range(together))
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    streams = [times for times in outcomes if isinstance(times, list) and times]
    between = [b - a for times in streams for a, b in itertools.pairwise(times)]
    return [times[0] for times in streams], between


def percentile(values: Sequence[float], share: float) -> str:
    if not values:
        return "none"
    return f"{1e3 * sorted(values)[min(len(values) - 1, int(share * len(values)))]:.0f}"


async def measure(servers: Sequence[Server], together: int, tokens: int, repeats: int) -> Table:
    limits = httpx.Limits(max_connections=None)
    table = Table("server", "tokens/s", "first token p50, p99, ms", "next p50, p99, ms", "streams")
    async with httpx.AsyncClient(timeout=600, limits=limits) as http:
        rates: dict[str, list[float]] = {server.name: [] for server in servers}
        firsts: dict[str, list[float]] = {server.name: [] for server in servers}
        nexts: dict[str, list[float]] = {server.name: [] for server in servers}
        for round in range(repeats + 1):
            for server in servers:
                tokens_per_second = await rate(http, server, together, tokens)
                first, between = await latencies(http, server, together, tokens)
                if round:  # the first is a warm-up
                    rates[server.name].append(tokens_per_second)
                    firsts[server.name] += first
                    nexts[server.name] += between
    for server in servers:
        first, between = firsts[server.name], nexts[server.name]
        table.add_row(
            server.name,
            f"{statistics.median(rates[server.name]):.1f}",
            f"{percentile(first, 0.5)}, {percentile(first, 0.99)}",
            f"{percentile(between, 0.5)}, {percentile(between, 0.99)}",
            f"{len(first)} of {together * repeats}",
        )
    return table


async def model_of(url: str) -> str:
    async with httpx.AsyncClient() as http:
        reply = await http.get(f"{url}/models")
        reply.raise_for_status()
        return str(reply.json()["data"][0]["id"])


async def run(options: argparse.Namespace) -> None:
    servers = [Server(name, url, await model_of(url)) for name, url in options.server]
    Console().print(await measure(servers, options.together, options.tokens, options.repeats))


def main(arguments: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Print a table of the servers. Return 0, or 2 after a line on stderr if a server fails."""
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    option = parser.add_argument
    option("server", nargs="+", type=named_url, metavar="NAME=URL", help="base URL of the API")
    option("--together", type=positive, default=32, help="concurrent requests")
    option("--tokens", type=positive, default=48, help="of each output")
    option("--repeats", type=positive, default=3, help="after a warm-up")
    try:
        asyncio.run(run(parser.parse_args(arguments)))
    except (httpx.HTTPError, httpx.InvalidURL, LookupError, ValueError) as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def named_url(text: str) -> tuple[str, str]:
    """Parse NAME=URL. The URL is that of the API, without `/completions`."""
    name, separator, url = text.partition("=")
    if not (name and separator and url.startswith(("http://", "https://"))):
        raise argparse.ArgumentTypeError(f"must be NAME=http://…, got {text!r}")
    return name, url.rstrip("/").removesuffix("/completions")


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
