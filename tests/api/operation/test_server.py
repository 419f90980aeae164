"""Shutdown: requests in flight are finished, or end with an error in the usual form."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import jax
import pytest

from api.app import create_app
from api.server import Server, listen
from tests.api.conftest import wait_until
from tests.api.http_client import parse_events
from tests.api.toy import ToyEngine, toy_model

PATH = "/v1/completions"
LONG = {"model": "toy", "prompt": "~", "temperature": 0}


@contextmanager
def running(engine: ToyEngine, **options: Any) -> Iterator[tuple[Server, str]]:
    """Run a server on a thread, which receives no signals; yield it with its address."""
    ports: list[int] = []
    server = Server(create_app([toy_model(engine)]), ports.append, **options)
    thread = threading.Thread(target=server.run, args=[listen("127.0.0.1", 0)])
    thread.start()
    wait_until(lambda: bool(ports))
    yield server, f"http://127.0.0.1:{ports[0]}"
    thread.join(10)
    assert not thread.is_alive()
    engine.close()


@pytest.mark.parametrize("cause", ["timeout", "second signal"])
def test_interrupted_request_ends_with_an_error(cause: str) -> None:
    """A stream ends with an error event and [DONE], a whole response is a 503."""
    engine, responses = ToyEngine(pause=0.1), []
    with running(engine, drain_timeout=0.3 if cause == "timeout" else 60) as (server, address):

        def send(stream: bool) -> None:
            responses.append(httpx.post(address + PATH, json=LONG | {"stream": stream}))

        threads = [threading.Thread(target=send, args=[stream]) for stream in (True, False)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(engine.tokens) == 2 and min(engine.tokens.values()) >= 2)
        server.handle_exit(signal.SIGTERM, None)
        if cause == "second signal":
            server.handle_exit(signal.SIGINT, None)
        for thread in threads:
            thread.join()
    streamed, whole = sorted(responses, key=lambda response: response.status_code)
    assert streamed.status_code == 200
    *texts, last = parse_events(streamed.text)
    assert texts and last["error"]["code"] == "engine_down"
    assert whole.status_code == 503 and int(whole.headers["retry-after"]) > 0
    assert whole.json()["error"]["code"] == "engine_down"


def test_idle_server_stops_at_once() -> None:
    with running(ToyEngine()) as (server, address):
        assert httpx.get(address + "/health").status_code == 200
        server.handle_exit(signal.SIGTERM, None)


def test_addresses_of_a_host_share_a_port() -> None:
    sockets = listen("", 0)
    assert len({bound.getsockname()[1] for bound in sockets}) == 1
    for bound in sockets:
        bound.close()


# `python -m api` as a process


@contextmanager
def process(backend: str = "reference") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve the embedded model; yield the process and its address. Compiled programs are shared
    with this process, so both have the same slots and devices.
    """
    command = [sys.executable, "-m", "api", "--backend", backend, "--port", "0", "--slots", "4"]
    command += ["--log-level", "error"]
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(jax.config.jax_compilation_cache_max_size),
        "JAX_NUM_CPU_DEVICES": str(jax.config.jax_num_cpu_devices),
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as started:
        try:
            assert started.stdout is not None
            [address] = [w for w in started.stdout.readline().split() if w.startswith("http")]
            yield started, address.removesuffix("/v1/openai/completions")
        finally:
            started.kill()


def long_request(prompts: int) -> dict[str, Any]:
    """Return a body whose stream takes seconds, or longer with more prompts."""
    prompt = ["Once upon a time"] * prompts
    return {"model": "tiny-text", "prompt": prompt, "n": 4, "temperature": 2, "stream": True}


def wait_for_exit(started: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit status and the output on stderr."""
    _, errors = started.communicate(timeout=20)
    return started.returncode, errors


@pytest.mark.lane
@pytest.mark.parametrize(
    ("backend", "number"),
    [("reference", signal.SIGTERM), ("reference", signal.SIGINT), ("jax", signal.SIGTERM)],
)
def test_signal_finishes_requests_in_flight(backend: str, number: signal.Signals) -> None:
    with (
        process(backend) as (started, address),
        httpx.stream("POST", address + PATH, json=long_request(8), timeout=60) as response,
    ):
        lines = response.iter_lines()
        text = next(lines) + "\n"
        started.send_signal(number)
        wait_until(lambda: httpx.get(address + "/health").json()["status"] == "draining")
        refused = httpx.post(address + PATH, json=long_request(1))
        assert refused.status_code == 503 and "retry-after" in refused.headers
        text += "\n".join(lines) + "\n"
        assert wait_for_exit(started) == (0, "")
    assert "usage" in parse_events(text)[-1]


def test_second_signal_interrupts_requests() -> None:
    with (
        process() as (started, address),
        httpx.stream("POST", address + PATH, json=long_request(64), timeout=60) as response,
    ):
        lines = response.iter_lines()
        text = next(lines) + "\n"
        started.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(address + "/health").json()["status"] == "draining")
        started.send_signal(signal.SIGTERM)
        text += "\n".join(lines) + "\n"
        status, errors = wait_for_exit(started)
    assert parse_events(text)[-1]["error"]["code"] == "engine_down"
    assert status == 0 and "Traceback" not in errors
