"""A server without keys on this machine refuses web pages of other machines; CORS."""

import ipaddress
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from api.security.hosts import is_loopback, is_loopback_host, is_loopback_origin, parse_origin
from tests.api.conftest import running_server
from tests.api.http_client import PATH, body_bytes, post
from tests.api.toy import toy_model

LOOPBACK = st.one_of(
    st.sampled_from(["localhost", "LocalHost", "app.localhost", "[::1]", "[0:0:0:0:0:0:0:1]"]),
    st.integers(0, 2**24 - 1).map(lambda i: str(ipaddress.IPv4Address(127 * 2**24 + i))),
)
LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
OTHER = st.one_of(
    st.sampled_from(
        [
            *("localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost", "127.1"),
            *("0.0.0.0", "[::]", "[::2]", "2130706433", "0x7f.0.0.1", "localhost@evil.example"),
            *("", "[]", "::1", "localhost:1:2", "[localhost]x", "localhost/x", " localhost", "."),
        ]
    ),
    st.lists(LABEL, min_size=2, max_size=4).map(".".join).filter(lambda n: "localhost" not in n),
    st.ip_addresses(v=4).filter(lambda a: not a.is_loopback).map(str),
    st.ip_addresses(v=6).filter(lambda a: not a.is_loopback).map(lambda a: f"[{a}]"),
)
PORT = st.sampled_from(["", ":8000", ":1", ":65535"])


@given(LOOPBACK, PORT)
def test_names_of_this_machine(name: str, port: str) -> None:
    assert is_loopback_host(name + port)
    for scheme in "http", "https":
        assert is_loopback_origin(f"{scheme}://{name}{port}")


@given(OTHER, PORT)
def test_names_of_other_machines(name: str, port: str) -> None:
    assert not is_loopback_host(name + port)
    assert not is_loopback_origin(f"http://{name}{port}")


@pytest.mark.parametrize(
    "origin",
    ["null", "", "localhost", "file://", "chrome-extension://localhost", "http://localhost/path"]
    + ["http://localhost#x", "http://evil.example http://localhost", "//localhost", "*"],
)
def test_origins_that_are_not_pages_of_this_machine(origin: str) -> None:
    assert not is_loopback_origin(origin)


def test_public_name_is_not_a_loopback_address_to_bind() -> None:
    """A resolver other than a browser's may give `x.localhost` any address."""
    assert [is_loopback(n) for n in ("localhost", "::1", "127.8.8.8")] == [True] * 3
    assert [is_loopback(n) for n in ("x.localhost", "", "0.0.0.0", "::")] == [False] * 4


@pytest.fixture
def local(toy_served: ServedModel) -> TestClient:
    app = create_app([toy_served], local=True, allowed_origins=["https://app.example", "null"])
    return TestClient(app, base_url="http://localhost:8000")


def test_clients_of_this_machine_are_served(local: TestClient) -> None:
    for host in "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "app.localhost":
        assert post(local, headers={"host": host}).status_code == 200
        assert local.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/openapi.json", "/unknown", PATH])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_host_is_403(local: TestClient, path: str, method: str) -> None:
    response = local.request(method, path, headers={"host": "evil.example:8000"})
    assert response.status_code == 403
    error = response.json()["error"]
    assert error["code"] == "forbidden_host"
    assert "Host" in error["message"] and "evil.example" in error["message"]


def test_second_host_header_is_checked(local: TestClient) -> None:
    headers = [("host", "localhost"), ("host", "evil.example")]
    assert local.get("/health", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:8000", 200),
        ("https://app.example", 200),
        ("null", 200),
        ("https://app.example:444", 403),
        ("http://app.example", 403),
        ("https://evil.example", 403),
        ("https://localhost.evil.example", 403),
        ("chrome-extension://abc", 403),
    ],
)
def test_pages(local: TestClient, origin: str, status: int) -> None:
    """The request is refused before its body is read; the preflight agrees with the request."""
    response = post(local, headers={"origin": origin})
    assert response.status_code == status
    preflight = local.options(
        PATH,
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    assert preflight.status_code == status
    for answer in response, preflight:
        if status == 200:
            assert answer.headers["access-control-allow-origin"] == origin
        else:
            assert "access-control-allow-origin" not in answer.headers
            error = answer.json()["error"]
            assert error["code"] == "forbidden_origin" and "Origin" in error["message"]
    if status == 200:
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "authorization" in preflight.headers["access-control-allow-headers"]


def test_null_origin_is_refused_unless_allowed(toy_served: ServedModel) -> None:
    """Every page can create a sandboxed frame, whose origin is null."""
    client = TestClient(create_app([toy_served], local=True), base_url="http://localhost")
    assert post(client, headers={"origin": "null"}).status_code == 403


def test_pages_can_read_errors_and_headers(local: TestClient) -> None:
    headers = {"origin": "https://app.example"}
    for response in post(local, n=9, headers=headers), post(local, best_of=2, headers=headers):
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        exposed = response.headers["access-control-expose-headers"]
        assert "x-ignored-parameters" in exposed and "retry-after" in exposed


def test_pages_with_a_key(toy_served: ServedModel) -> None:
    """The key protects the server: any host is served, and CORS is for the allowed origins."""
    app = create_app([toy_served], keys=["k"], allowed_origins=["https://app.example"])
    client = TestClient(app)
    for origin, allowed in ("https://app.example", True), ("http://localhost", False):
        headers = {"origin": origin, "xi-api-key": "k"}
        response = post(client, headers=headers)
        assert response.status_code == 200
        assert ("access-control-allow-origin" in response.headers) == allowed
        assert post(client, headers={"origin": origin}).status_code == 401
        preflight = client.options(
            PATH, headers={"origin": origin, "access-control-request-method": "POST"}
        )
        assert (preflight.status_code == 200) == allowed


def test_wildcard_allows_pages_but_not_hosts(toy_served: ServedModel) -> None:
    app = create_app([toy_served], local=True, allowed_origins=["*"])
    client = TestClient(app, base_url="http://localhost")
    response = post(client, headers={"origin": "https://any.example"})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert post(client, headers={"host": "evil.example"}).status_code == 403


def test_without_options_there_is_no_check_and_no_cors(toy_client: TestClient) -> None:
    response = post(toy_client, headers={"origin": "https://evil.example", "host": "any.example"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert toy_client.options(PATH).status_code == 405


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://App.Example", "https://app.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:80800", "http://[::1]:80800"),
        ("chrome-extension://abc", "chrome-extension://abc"),
        ("*", "*"),
        ("null", "null"),
    ],
)
def test_valid_origins(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    ["app.example", "https://app.example/", "https://a.example:443", "http://a.example:80"]
    + ["https://", "", "https://a b", "https://*.example/x", "https://user@a.example"],
)
def test_invalid_origins(text: str) -> None:
    with pytest.raises(ValueError, match="scheme://host"):
        parse_origin(text)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    served = toy_model()
    with running_server(create_app([served], local=True)) as address:
        yield address
    served.engine.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "rebound.example", "origin": "http://rebound.example"}, 403),
        ({"origin": "https://evil.example", "content-type": "text/plain"}, 403),
        ({"origin": "http://localhost:5173"}, 200),
    ],
    ids=str,
)
def test_requests_on_a_socket(address: str, headers: Any, status: int) -> None:
    response = httpx.post(address + PATH, content=body_bytes(), headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize("local", [True, False])
def test_app_starts_behind_another_server(local: bool, toy_served: ServedModel) -> None:
    """A server that runs the app may send lifespan events, which have no headers."""
    app = create_app([toy_served], local=local, allowed_origins=["https://page.example"])
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/ready").status_code == 200
