"""Host cost per token: scheduling, detokenization, JSON and server-sent events with many streams.

    python -m benchmarks.host_overhead [--streams 64] [--tokens 400] [--rounds 5] [--profile]

The model is so small that its arithmetic does not matter. Clients run in a process of their own.
The CPU times are those of the engine's thread and of the event loop, which share the interpreter
lock: their sum is the smallest time per token that this process can reach. JAX may run small
programs on the thread that launches them, so the engine's time includes some arithmetic.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from api.app import create_app
from api.backends.loading import BACKENDS
from api.options.arguments import build_parser
from benchmarks.checkpoint import write

ENGINE, LOOP = "jax-engine", "event loop"


async def stream(address: str, tokens: int) -> None:
    """Send a streaming request, and read the bytes of its response. Parsing them would take more
    time than the server does.
    """
    fields = {"model": "host", "prompt": [300] * 8, "max_tokens": tokens, "stream": True}
    request = httpx.Request("POST", f"{address}/v1/completions", json=fields)
    head = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
    first = "POST /v1/completions HTTP/1.1\r\nconnection: close\r\n"
    reader, writer = await asyncio.open_connection(request.url.host, request.url.port)
    writer.write("".join([first, *head, "\r\n"]).encode() + request.read())
    response = await reader.read()
    writer.close()
    assert response.startswith(b"HTTP/1.1 200 ") and b"data: [DONE]" in response, response[:500]


def load(address: str, streams: int, tokens: int) -> float:
    """Run streams at the same time, and return the seconds that they take together."""

    async def run() -> float:
        start = time.perf_counter()
        await asyncio.gather(*(stream(address, tokens) for _ in range(streams)))
        return time.perf_counter() - start

    return asyncio.run(run())


@contextmanager
def serving(checkpoint: Path, slots: int) -> Iterator[str]:
    """Serve a checkpoint in this process, and yield the address."""
    options = ["--slots", str(slots), "--context", "512", "--no-batch-invariant"]
    served = BACKENDS["jax"](build_parser(BACKENDS).parse_args(options), "host", checkpoint)
    app = create_app([served])
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name=LOOP)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    served.engine.close()


def cpu_seconds(name: str) -> float:
    """Return the CPU time of the thread with this name."""
    [thread] = [thread for thread in threading.enumerate() if thread.name == name]
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))


def measure(client: Callable[[], float], tokens: int) -> dict[str, float]:
    """Return microseconds per token: of CPU time of the two threads, and of wall time."""
    before = {name: cpu_seconds(name) for name in (ENGINE, LOOP)}
    seconds = client()
    spent = {name: cpu_seconds(name) - start for name, start in before.items()}
    return {name: 1e6 * s / tokens for name, s in {**spent, "wall": seconds}.items()}


@contextmanager
def profiled(threads: Sequence[str]) -> Iterator[dict[str, cProfile.Profile]]:
    """Profile the threads of these names that start within the block."""
    profiles = {name: cProfile.Profile(time.thread_time) for name in threads}
    run = threading.Thread.run

    def run_profiled(thread: threading.Thread) -> None:
        if thread.name in profiles:
            profiles[thread.name].runcall(run, thread)
        else:
            run(thread)

    threading.Thread.run = run_profiled  # type: ignore[method-assign]
    try:
        yield profiles
    finally:
        threading.Thread.run = run  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=400, help="of each stream")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="print where the time is spent")
    options = parser.parse_args()
    count = options.streams * options.tokens
    with (
        tempfile.TemporaryDirectory() as directory,
        ProcessPoolExecutor(1, get_context("spawn")) as clients,
        profiled([ENGINE, LOOP] if options.profile else []) as profiles,
    ):
        write(Path(directory), "tiny")
        with serving(Path(directory), options.streams) as address:

            def client() -> float:
                work: Any = clients.submit(load, address, options.streams, options.tokens)
                return float(work.result())

            client()  # a warm-up
            rounds = [measure(client, count) for _ in range(options.rounds)]
        medians = {name: round(statistics.median(r[name] for r in rounds), 1) for name in rounds[0]}
        print(json.dumps({"microseconds per token": medians, "streams": options.streams}))
        for name, profile in profiles.items():
            print(name)
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
