"""Limits on the size of a body and on sequences in flight; draining."""

import asyncio
import itertools
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api import stream as stream_module
from api.app import create_app
from api.engine import ServedModel
from tests.api.conftest import Build, toy_engine, wait_until
from tests.api.http_client import PATH, RawRequest, body_bytes, post
from tests.api.toy import ToyEngine, toy_model


def test_announced_size_above_limit_is_413(build: Build) -> None:
    for announced in "101", "1" * 5000:
        request = RawRequest([b"{}"], headers={"content-length": announced})
        asyncio.run(request.run(create_app([build()], max_body_bytes=100)))
        assert (request.status, request.parts_read) == (413, 0)
        assert json.loads(request.body)["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("headers", [{}, {"content-length": "5"}, {"content-length": "five"}])
def test_received_size_above_limit_is_413(build: Build, headers: dict[str, str]) -> None:
    request = RawRequest([b" " * 60, b" " * 60, b" " * 60], headers=headers)
    asyncio.run(request.run(create_app([build()], max_body_bytes=100)))
    assert (request.status, request.parts_read) == (413, 2)


def test_body_of_maximum_size_is_accepted(build: Build) -> None:
    client = TestClient(create_app([build()], max_body_bytes=100))
    sent = body_bytes().ljust(100)
    assert client.post(PATH, content=sent).status_code == 200
    assert client.post(PATH, content=sent + b" ").status_code == 413


def test_disconnect_while_sending_the_body(build: Build) -> None:
    request = RawRequest([b'{"model"'], is_complete=False)
    asyncio.run(request.run(create_app([build()])))
    assert request.messages == []


def test_excess_request_is_429(build: Build) -> None:
    """With a limit of two, the third request is refused; the limit is per model."""
    served, second = build(pause=0.01), build("second")
    client = TestClient(create_app([served, second], max_concurrency=2))
    responses: list[Any] = []
    running = [
        threading.Thread(target=lambda: responses.append(post(client, prompt="~")))
        for _ in range(2)
    ]
    for thread in running:
        thread.start()
    wait_until(lambda: len(toy_engine(served).requests) == 2)
    for streamed in False, True:
        refused = post(client, stream=streamed)
        assert refused.status_code == 429
        assert refused.json()["error"]["message"] == "Rate limited"
        assert int(refused.headers["retry-after"]) > 0
    assert post(client, model="second").status_code == 200
    for thread in running:
        thread.join()
    assert [r.status_code for r in responses] == [200, 200]
    assert post(client).status_code == 200


@pytest.mark.parametrize(
    ("prompt", "n", "param"), [(["a"] * 3, 2, "n"), (["a"] * 6, 1, "prompt"), ("a", 4, None)]
)
def test_sequences_are_counted(build: Build, prompt: Any, n: int, param: str | None) -> None:
    """A request with more sequences than the limit is a 400: it could never run."""
    client = TestClient(create_app([build()], max_concurrency=5))
    response = post(client, prompt=prompt, n=n)
    if param is None:
        assert response.status_code == 200
        return
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("too_many_sequences", param)
    assert "6 sequences" in error["message"] and "at most 5" in error["message"]


def test_sequences_in_flight_are_limited(build: Build) -> None:
    """Four of five sequences are in flight: one more is admitted, two are not."""
    served = build(pause=0.01)
    app = create_app([served], max_concurrency=5)
    client = TestClient(app)
    running = threading.Thread(target=post, args=(client,), kwargs={"prompt": ["~", "~"], "n": 2})
    running.start()
    wait_until(lambda: len(toy_engine(served).requests) == 2)
    assert app.state.service.in_flight == 4
    for sent in {"n": 2}, {"prompt": ["w", "w"]}, {"n": 2, "stream": True}:
        refused = post(client, **sent)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) > 0
    assert post(client).status_code == 200
    running.join()
    assert post(client, n=4).status_code == 200
    wait_until(lambda: app.state.service.in_flight == 0)


def test_sequences_are_counted_on_each_backend(served: ServedModel) -> None:
    app = create_app([served], max_concurrency=3)
    client = TestClient(app)
    body: dict[str, Any] = {"model": served.name, "max_tokens": 2}
    for prompt, n, status in ([[5]] * 3, 1, 200), ([5], 3, 200), ([[5]] * 2, 2, 400), ([5], 4, 400):
        for stream in False, True:
            response = post(client, **body, prompt=prompt, n=n, stream=stream)
            assert response.status_code == status
    assert app.state.service.in_flight == 0


REQUESTS = st.fixed_dictionaries(
    {
        "prompt": st.lists(
            st.sampled_from(["~", "w", "", [5] * 200]), min_size=1, max_size=3
        ).filter(lambda prompts: len({type(prompt) for prompt in prompts}) == 1),
        "n": st.integers(1, 5),
        "stream": st.booleans(),
        "max_tokens": st.integers(1, 6),
    }
)


@given(
    requests=st.lists(st.tuples(REQUESTS, st.none() | st.integers(0, 4)), min_size=1, max_size=6),
    fail_after=st.none() | st.integers(0, 4),
)
def test_sequences_in_flight_return_to_zero(
    requests: list[tuple[dict[str, Any], int | None]], fail_after: int | None
) -> None:
    """Requests end by completion, a 4xx, a 5xx, or a disconnect at a message."""
    limit = 6
    served = toy_model(ToyEngine(fail_after=fail_after))
    app = create_app([served], max_concurrency=limit)
    service, in_flight = app.state.service, []

    def client(body: dict[str, Any], disconnect_at: int | None) -> RawRequest:
        seen = itertools.count()

        def disconnect_when(message: Any) -> bool:
            in_flight.append(service.in_flight)
            return next(seen) == disconnect_at

        return RawRequest([body_bytes(**body)], disconnect_when=disconnect_when)

    async def run() -> None:
        await asyncio.gather(*(sent.run(app) for sent in clients))

    clients = [client(*request) for request in requests]
    asyncio.run(run())
    assert service.in_flight == 0 and max(in_flight, default=0) <= limit
    wait_until(lambda: served.engine.idle)  # type: ignore[attr-defined]
    served.engine.close()
    for sent, (body, _) in zip(clients, requests, strict=True):
        sequences = len(body["prompt"]) * body["n"]
        if sent.status == 400 and sequences > limit:
            assert json.loads(sent.body)["error"]["code"] == "too_many_sequences"
        assert (sent.status == 200) <= (sequences <= limit)


@pytest.mark.parametrize("streamed", [False, True])
def test_sequences_of_a_dead_engine_are_released(
    build: Build, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setattr(stream_module, "HEALTH_CHECK_TIMEOUT", 0.05)
    served = build(hangs=True)
    app = create_app([served])
    responses: list[Any] = []
    client = TestClient(app)
    running = threading.Thread(target=lambda: responses.append(post(client, n=3, stream=streamed)))
    running.start()
    wait_until(lambda: app.state.service.in_flight == 3)
    toy_engine(served).healthy = False
    running.join()
    assert responses[0].status_code == 503 and app.state.service.in_flight == 0
    assert post(client).status_code == 503 and app.state.service.in_flight == 0


def test_refused_request_is_not_in_flight(build: Build) -> None:
    app = create_app([build()], max_concurrency=1)
    client = TestClient(app)
    for _ in range(3):
        assert post(client, prompt=[5] * 200).status_code == 400
        assert post(client, n=9).status_code == 422
        assert post(client, stream=True).status_code == 200
    assert app.state.service.in_flight == 0


def test_draining_refuses_new_requests(build: Build) -> None:
    """New requests are refused; the request in flight is finished."""
    served = build(pause=0.01)
    app = create_app([served])
    client = TestClient(app)
    responses: list[Any] = []
    running = threading.Thread(target=lambda: responses.append(post(client, prompt="~")))
    running.start()
    wait_until(lambda: bool(toy_engine(served).requests))
    app.state.service.draining = True
    refused = post(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert int(refused.headers["retry-after"]) > 0
    assert client.get("/health").status_code == 503
    assert client.get("/health").json()["status"] == "draining"
    running.join()
    assert responses[0].status_code == 200


def test_duplicate_model_name_is_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="same name"):
        create_app([build(), build()])


def test_model_names_with_slashes(build: Build) -> None:
    client = TestClient(create_app([build("org/model"), build("b")]))
    for prefix in "/v1/models", "/v1/openai/models":
        assert client.get(f"{prefix}/org/model").json()["id"] == "org/model"
        assert [m["id"] for m in client.get(prefix).json()["data"]] == ["org/model", "b"]
    assert post(client, model="org/model").json()["model"] == "org/model"
