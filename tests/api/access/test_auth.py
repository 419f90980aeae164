"""Authentication by API keys."""

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from tests.api.conftest import Build
from tests.api.http_client import PATH, RawRequest, body_bytes


@pytest.fixture
def locked(build: Build) -> TestClient:
    return TestClient(create_app([build()], keys=["key-1", "kéy-2"], max_body_bytes=100))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key-1"},
        {"authorization": "bearer key-1"},
        {"xi-api-key": "key-1"},
        {"Authorization": "Bearer kéy-2".encode()},
        {"xi-api-key": "kéy-2".encode()},
        {"Authorization": "Bearer wrong", "xi-api-key": "key-1"},
        {"Authorization": "Bearer key-1", "x-deepinfra-source": "web"},
    ],
    ids=str,
)
def test_valid_key_is_accepted(locked: TestClient, headers: Any) -> None:
    for path in "/v1/models", "/v1/models/toy", "/v1/openai/models":
        assert locked.get(path, headers=as_bytes(headers)).status_code == 200
    assert locked.post(PATH, content=body_bytes(), headers=as_bytes(headers)).status_code == 200


def as_bytes(headers: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    return [(k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in headers.items()]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "key-1"},
        {"Authorization": "Basic key-1"},
        {"Authorization": "Bearer key-1x"},
        {"xi-api-key": ""},
        {"xi-api-key": "KEY-1"},
        {"Authorization": "Bearer \xff"},
    ],
    ids=str,
)
def test_invalid_key_is_401(locked: TestClient, headers: dict[str, str]) -> None:
    """The 401 has priority over errors in the size or the syntax of the body."""
    encoded = as_bytes(headers)
    responses = [locked.get(path, headers=encoded) for path in ("/v1/models", "/v1/models/toy")]
    for body in body_bytes(), b"{", b"x" * 200:
        responses.append(locked.post(PATH, content=body, headers=encoded))
    for response in responses:
        assert response.status_code == 401
        assert response.json() == {"detail": "Not authenticated"}
        assert response.headers["www-authenticate"] == "Bearer"


def test_health_and_openapi_need_no_key(locked: TestClient) -> None:
    for path in "/health", "/openapi.json":
        assert locked.get(path).status_code == 200
    assert locked.get(PATH).status_code == 405
    assert locked.get("/nothing").status_code == 404


def test_unauthenticated_body_is_not_read(build: Build) -> None:
    request = RawRequest([b"x", b"y"])
    asyncio.run(request.run(create_app([build()], keys=["k"])))
    assert (request.status, request.parts_read) == (401, 0)
