"""Measures the cost of metrics and logs: tokens per second with and without, interleaved.

    python -m benchmarks.operation.overhead --rounds 20 --seconds 5

Both apps serve the same engine in one process; one of them has no observers and no record. Clients
run in a process of their own. Tokens per second of processor time are less noisy than tokens per
second, and equal to them up to a factor while the processor limits the server.
"""

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import uvicorn
from starlette.applications import Starlette

from api.app import create_app
from api.backends.loading import BACKENDS
from api.observability import middleware
from api.observability.logs import configure_logs
from api.observability.record import RequestRecord
from api.options.arguments import build_parser
from benchmarks.operation.load import Json, closed_loop
from reference.bundle import EMBEDDED
from reference.request import Event

CLIENTS = 8


def request(i: int) -> Json:
    return {"model": "tiny-text", "prompt": "Once", "max_tokens": 64, "seed": i, "stream": True}


@contextmanager
def listening(app: Starlette) -> Iterator[str]:
    """Run an app on a thread, and yield its address."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def without_observability(app: Starlette) -> Starlette:
    """Remove the middleware, and what the record does for every event."""
    app.user_middleware = [m for m in app.user_middleware if m.cls is not middleware.Observability]
    return app


def send_requests(address: str, seconds: float) -> int:
    """Keep requests in flight for some time. Return the number of output tokens."""
    outcomes = asyncio.run(closed_loop(address, request, CLIENTS, seconds))
    assert all(outcome.status == 200 for outcome in outcomes)
    return sum(outcome.tokens for outcome in outcomes)


def measure_rates(clients: Executor, address: str, seconds: float) -> tuple[float, float]:
    """Return tokens per second, and tokens per second of the server's processor time."""
    start, start_cpu = time.monotonic(), time.process_time()
    tokens = clients.submit(send_requests, address, seconds).result()
    return tokens / (time.monotonic() - start), tokens / (time.process_time() - start_cpu)


def ignore_event(record: RequestRecord, prompt: int, event: Event) -> None:
    """Take the place of `RequestRecord.on_event`."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    configure_logs("info", "json")
    arguments = build_parser(BACKENDS).parse_args([])
    served = BACKENDS["jax"](arguments, "tiny-text", EMBEDDED / "text")
    on_event = RequestRecord.on_event
    wall, processor = [], []
    with (
        listening(create_app([served])) as observed,
        listening(without_observability(create_app([served]))) as plain,
        ProcessPoolExecutor(1, get_context("spawn")) as clients,
    ):
        for i in range(options.rounds):
            rates = {}
            for is_observed in (True, False) if i % 2 else (False, True):
                RequestRecord.on_event = on_event if is_observed else ignore_event  # type: ignore[method-assign]
                address = observed if is_observed else plain
                rates[is_observed] = measure_rates(clients, address, options.seconds)
            RequestRecord.on_event = on_event  # type: ignore[method-assign]
            with_metrics, without = rates[True], rates[False]
            wall.append(with_metrics[0] / without[0])
            processor.append(with_metrics[1] / without[1])
            print(
                f"{with_metrics[0]:.0f} tokens per second with, {without[0]:.0f} without, "
                f"ratio {wall[-1]:.3f}; of processor time {processor[-1]:.3f}"
            )
    print(f"median ratio of tokens per second {statistics.median(wall):.3f}")
    print(f"median ratio of tokens per second of processor time {statistics.median(processor):.3f}")
    served.engine.close()


if __name__ == "__main__":
    main()
