"""The log: one line per request, without any text of the request."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.observability.logs import configure_logs
from tests.api.conftest import Build
from tests.api.http_client import PATH, post, stream

SECRETS = ("hidden", "mallory", "secret", "xyz")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root, requests = logging.getLogger(), logging.getLogger("api.requests")
    before = root.handlers, root.level, requests.level
    yield
    root.handlers, level, requests_level = before
    root.setLevel(level)
    requests.setLevel(requests_level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_line_of_a_completion(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    client = TestClient(create_app([build()], keys=["secret"]))
    headers = {"xi-api-key": "secret", "x-request-id": "r-1"}
    response = post(client, headers=headers, user="mallory")
    [line] = lines(capsys)
    assert response.headers["x-request-id"] == line["request_id"] == "r-1"
    expected = {
        "level": "info",
        "event": "request",
        "method": "POST",
        "path": PATH,
        "status": 200,
        "model": "toy",
        "completion_id": response.json()["id"],
        "prompt_tokens": 2,
        "completion_tokens": 4,
        "cached_tokens": 0,
        "finish_reasons": "stop",
    }
    assert {name: line[name] for name in expected} == expected
    assert 0 <= line["ttft_ms"] <= line["duration_ms"]
    assert len(line["principal"]) == 12 and "error" not in line


@pytest.mark.parametrize("style", ["text", "json"])
def test_log_has_no_text_of_requests(
    build: Build, capsys: pytest.CaptureFixture[str], style: str
) -> None:
    configure_logs("debug", style)
    client = TestClient(create_app([build()], keys=["secret"]), raise_server_exceptions=False)
    headers = {"xi-api-key": "secret"}
    for body in (
        {},
        {"prompt": "hidden"},
        {"user": "mallory", "stop": "hidden"},
        {"top_p": "hidden"},
    ):
        post(client, headers=headers, **body)
    client.get("/health")
    output = capsys.readouterr().err
    assert output.count("\n") == 5
    assert not any(secret in output for secret in SECRETS)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [({"model": "x"}, 404, "model_not_found"), ({"top_p": 7}, 422, "invalid_request")],
)
def test_line_of_a_refused_request(
    build: Build, capsys: pytest.CaptureFixture[str], body: Any, status: int, error: str
) -> None:
    configure_logs("info", "json")
    post(TestClient(create_app([build()])), **body)
    [line] = lines(capsys)
    assert (line["status"], line["error"]) == (status, error)


def test_stream_that_fails_is_logged_with_its_error(
    build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("info", "json")
    client = TestClient(create_app([build(fail_after=3)]))
    assert "error" in stream(client)[-1]
    [line] = [line for line in lines(capsys) if line["event"] == "request"]
    assert (line["status"], line["error"]) == (200, "internal_error")


@pytest.mark.parametrize("path", ["/health", "/live", "/ready", "/metrics"])
def test_probes_are_logged_at_level_debug(
    build: Build, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    client = TestClient(create_app([build()]))
    for level, count in ("info", 0), ("debug", 1):
        configure_logs(level, "json")
        assert client.get(path).status_code == 200
        assert len(lines(capsys)) == count


@pytest.mark.parametrize("sent", ["", "a b", "é", "x" * 129, "line\tbreak"])
def test_invalid_request_id_is_replaced(build: Build, sent: str) -> None:
    client = TestClient(create_app([build()]))
    headers = {"x-request-id": sent.encode()}
    ids = {client.get("/health", headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2 and all(len(value) == 32 for value in ids)


def test_unexpected_error_has_the_request_id(build: Build) -> None:
    app = create_app([build()])
    app.state.service.keys = None
    client = TestClient(app, raise_server_exceptions=False)
    response = post(client, headers={"x-request-id": "r-2"})
    assert response.status_code == 500 and response.headers["x-request-id"] == "r-2"


def test_text_format_is_one_line_of_pairs(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "text")
    TestClient(create_app([build()])).get("/nowhere%0aforged=1")
    [line] = capsys.readouterr().err.splitlines()
    assert "level=info" in line and "status=404" in line and " forged=1" not in line
