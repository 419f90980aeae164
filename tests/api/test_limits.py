"""Limits on the size of a body and on requests in flight; draining."""

import asyncio
import json
import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.conftest import Build, toy_engine, wait_until
from tests.api.http_client import PATH, RawRequest, body_bytes, post


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
