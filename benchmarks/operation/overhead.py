"""Measures the cost of metrics and logs: tokens per second with and without, interleaved.

    python -m benchmarks.operation.overhead --rounds 5 --seconds 10

Both apps serve the same engine in one process; one of them has no observers and no record.
"""

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from api.__main__ import BACKENDS
from api.app import create_app
from api.observability import middleware
from api.observability.logs import configure_logs
from api.observability.record import RequestRecord
from api.options.arguments import build_parser
from benchmarks.operation.load import Json, closed_loop
from reference.bundle import EMBEDDED

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


def tokens_per_second(address: str, seconds: float) -> float:
    start = time.monotonic()
    outcomes = asyncio.run(closed_loop(address, request, CLIENTS, seconds))
    assert all(outcome.status == 200 for outcome in outcomes)
    return sum(outcome.tokens for outcome in outcomes) / (time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    configure_logs("info", "json")
    arguments = build_parser(BACKENDS).parse_args([])
    served = BACKENDS["jax"](arguments, "tiny-text", EMBEDDED / "text")
    on_event = RequestRecord.on_event
    ratios = []
    with (
        listening(create_app([served])) as observed,
        listening(without_observability(create_app([served]))) as plain,
    ):
        for _ in range(options.rounds):
            with_metrics = tokens_per_second(observed, options.seconds)
            RequestRecord.on_event = lambda self, prompt, event: None  # type: ignore[method-assign]
            without = tokens_per_second(plain, options.seconds)
            RequestRecord.on_event = on_event  # type: ignore[method-assign]
            ratios.append(with_metrics / without)
            print(f"{with_metrics:.0f} with, {without:.0f} without, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")
    served.engine.close()


if __name__ == "__main__":
    main()
