"""The end of a server: what runs is finished, or ends with an error that has its proper shape."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from api import server as server_module
from api.app import create_app
from api.server import Server, listen
from tests.api.conftest import until
from tests.api.sending import events
from tests.api.toy import ToyEngine, toy

PATH = "/v1/completions"
LONG = {"model": "toy", "prompt": "~", "temperature": 0}


@contextmanager
def running(engine: ToyEngine) -> Iterator[tuple[Server, str]]:
    """A server on a thread, where signals do not come by themselves, and its address."""
    ports: list[int] = []
    server = Server(create_app([toy(engine)]), ports.append)
    thread = threading.Thread(target=server.run, args=[listen("127.0.0.1", 0)])
    thread.start()
    until(lambda: bool(ports))
    yield server, f"http://127.0.0.1:{ports[0]}"
    thread.join(10)
    assert not thread.is_alive()
    engine.close()


@pytest.mark.parametrize("how", ["deadline", "second signal"])
def test_what_is_cut_off_ends_with_an_error(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream with an event and [DONE], a whole answer with a 503."""
    monkeypatch.setattr(server_module, "DRAIN_SECONDS", 0.3 if how == "deadline" else 60)
    engine, answers = ToyEngine(pause=0.1), []
    with running(engine) as (server, address):

        def ask(stream: bool) -> None:
            answers.append(httpx.post(address + PATH, json=LONG | {"stream": stream}))

        threads = [threading.Thread(target=ask, args=[stream]) for stream in (True, False)]
        for thread in threads:
            thread.start()
        until(lambda: len(engine.tokens) == 2 and min(engine.tokens.values()) >= 2)
        server.handle_exit(signal.SIGTERM, None)
        if how != "deadline":
            server.handle_exit(signal.SIGINT, None)
        for thread in threads:
            thread.join()
    streamed, whole = sorted(answers, key=lambda answer: answer.status_code)
    assert streamed.status_code == 200
    *texts, last = events(streamed.text)
    assert texts and last["error"]["code"] == "engine_down"
    assert whole.status_code == 503 and int(whole.headers["retry-after"]) > 0
    assert whole.json()["error"]["code"] == "engine_down"


def test_a_server_with_nothing_to_do_ends_at_once() -> None:
    with running(ToyEngine()) as (server, address):
        assert httpx.get(address + "/health").status_code == 200
        server.handle_exit(signal.SIGTERM, None)


def test_every_address_of_a_host_has_one_port() -> None:
    sockets = listen("", 0)
    assert len({one.getsockname()[1] for one in sockets}) == 1
    for one in sockets:
        one.close()


# A process


@contextmanager
def process(backend: str = "reference") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m api` with the embedded model, and its address. It keeps nothing on disk."""
    command = [sys.executable, "-m", "api", "--backend", backend, "--port", "0"]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as started:
        try:
            assert started.stdout is not None
            [address] = [w for w in started.stdout.readline().split() if w.startswith("http")]
            yield started, address.removesuffix("/v1/openai/completions")
        finally:
            started.kill()


def asked(prompts: int) -> dict[str, Any]:
    """Some seconds of tokens, or many."""
    prompt = ["Once upon a time"] * prompts
    return {"model": "tiny-text", "prompt": prompt, "n": 4, "temperature": 2, "stream": True}


def left(started: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status, and what it said on stderr."""
    _, said = started.communicate(timeout=20)
    return started.returncode, said


@pytest.mark.parametrize(
    ("backend", "sign"),
    [("reference", signal.SIGTERM), ("reference", signal.SIGINT), ("jax", signal.SIGTERM)],
)
def test_a_signal_lets_finish_what_runs(backend: str, sign: signal.Signals) -> None:
    with (
        process(backend) as (started, address),
        httpx.stream("POST", address + PATH, json=asked(8), timeout=60) as response,
    ):
        lines = response.iter_lines()
        text = next(lines) + "\n"
        started.send_signal(sign)
        until(lambda: httpx.get(address + "/health").json()["status"] == "draining")
        refused = httpx.post(address + PATH, json=asked(1))
        assert refused.status_code == 503 and "retry-after" in refused.headers
        text += "\n".join(lines) + "\n"
        assert left(started) == (0, "")
    assert "usage" in events(text)[-1]


def test_a_second_signal_ends_what_runs() -> None:
    with (
        process() as (started, address),
        httpx.stream("POST", address + PATH, json=asked(256), timeout=60) as response,
    ):
        lines = response.iter_lines()
        text = next(lines) + "\n"
        started.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(address + "/health").json()["status"] == "draining")
        started.send_signal(signal.SIGTERM)
        text += "\n".join(lines) + "\n"
        status, said = left(started)
    assert events(text)[-1]["error"]["code"] == "engine_down"
    assert status == 0 and "Traceback" not in said
