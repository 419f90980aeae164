"""Probes, and the watchdog of a device that hangs."""

import threading
import time
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from api.observability.metrics import package_version
from tests.api.conftest import Build, toy_engine, wait_until
from tests.api.http_client import parse_events, post
from tests.api.operation.test_server import PATH, running
from tests.api.toy import ToyEngine


def statuses(client: TestClient) -> tuple[int, int, int]:
    return tuple(client.get(path).status_code for path in ("/live", "/ready", "/health"))


def test_probes_of_each_state(build: Build) -> None:
    served = build()
    app = create_app([served], keys=["key"])
    client = TestClient(app)
    assert statuses(client) == (200, 200, 200)
    app.state.service.draining = True
    assert statuses(client) == (200, 503, 503)
    app.state.service.failure = "hung"
    assert statuses(client) == (503, 503, 503)


def test_dead_engine_is_neither_live_nor_ready(build: Build) -> None:
    served = build()
    client = TestClient(create_app([served]))
    toy_engine(served).healthy = False
    assert statuses(client) == (503, 503, 503)
    assert client.get("/health").json() == {"status": "down", "models": {"toy": "down"}}


def test_version(build: Build) -> None:
    client = TestClient(create_app([build()], keys=["key"]))
    assert client.get("/version").json() == {"version": package_version()}


@pytest.mark.parametrize("stream", [True, False])
def test_watchdog_ends_requests_and_the_server(stream: bool) -> None:
    """The engine hangs in a step: requests end with an error, and the server stops."""
    engine = ToyEngine(hangs=True)
    responses: list[Any] = []
    with running(engine, watchdog_timeout=0.3) as (server, address):
        body = {"model": "toy", "prompt": "~", "stream": stream}
        sender = threading.Thread(
            target=lambda: responses.append(httpx.post(address + PATH, json=body, timeout=30))
        )
        sender.start()
        wait_until(lambda: bool(engine.requests))
        engine.stalled_since = time.monotonic()
        sender.join()
    [response] = responses
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "engine_down"


def test_idle_engine_does_not_hang(jax_served: ServedModel, reference_served: ServedModel) -> None:
    for served in jax_served, reference_served:
        assert served.engine.stats().stalled_seconds == 0


@pytest.mark.parametrize("backend", ["jax", "reference"])
def test_engine_that_hangs_is_noticed(
    backend: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that does not return makes `stalled_seconds` grow, and `close` ends the requests."""
    from tests.conftest import serve

    served = serve(backend)
    engine: Any = served.engine
    released = threading.Event()
    if backend == "jax":
        process = engine._outputs.process
        engine._outputs.process = lambda step: (released.wait(), process(step))
    else:
        engine._sample = lambda *arguments: released.wait()
    responses: list[Any] = []
    client = TestClient(create_app([served]))
    body = {"model": served.name, "max_tokens": 4}
    sender = threading.Thread(target=lambda: responses.append(post(client, **body)))
    sender.start()
    wait_until(lambda: engine.stats().stalled_seconds > 0.05, 20)
    engine.close(timeout=0.1)
    sender.join(20)
    released.set()
    assert responses[0].status_code == 503 and not engine.stats().healthy


def test_stream_that_waits_gets_comments(build: Build) -> None:
    """Comments come before the first token only, and the events are as without them."""
    served = build(pause=0.15)
    client = TestClient(create_app([served], keep_alive=0.04))
    text = post(client, stream=True).text
    comments, _, events = text.partition("data: ")
    assert set(comments.split("\n\n")) == {": keep-alive", ""} and comments.count(":") >= 2
    assert "keep-alive" not in events
    silent = TestClient(create_app([build()], keep_alive=None))
    assert len(parse_events("data: " + events)) == len(parse_events(post(silent, stream=True).text))


def test_error_after_a_comment_is_an_event(build: Build) -> None:
    client = TestClient(create_app([build(pause=0.15, fail_after=1)], keep_alive=0.04))
    response = post(client, stream=True)
    assert response.status_code == 200 and response.text.startswith(": keep-alive")
    [event] = parse_events("data: " + response.text.partition("data: ")[2])
    assert event["error"]["code"] == "internal_error"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("source", ["option", "header", "both"])
def test_request_timeout(build: Build, source: str, stream: bool) -> None:
    served = build(pause=0.02)
    limit = {"option": 0.1, "header": None, "both": 60.0}[source]
    headers = {} if source == "option" else {"x-request-timeout": "0.1"}
    client = TestClient(create_app([served], request_timeout=limit))
    response = post(client, prompt="~", stream=stream, headers=headers)
    if stream:
        assert response.status_code == 200
        error = parse_events(response.text)[-1]["error"]
    else:
        assert response.status_code == 504
        error = response.json()["error"]
    assert error["code"] == "request_timeout" and "0.1 seconds" in error["message"]
    wait_until(lambda: not toy_engine(served)._running)
    if source != "option":
        assert post(client).status_code == 200


@pytest.mark.parametrize("value", ["0", "-1", "nan", "soon", ""])
def test_invalid_timeout_is_refused(build: Build, value: str) -> None:
    response = post(TestClient(create_app([build()])), headers={"x-request-timeout": value})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-request-timeout"
