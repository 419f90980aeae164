"""Servers that are busy, drop the connection, or never end a response."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from conformance.harness.capabilities import Capability, require_capability
from conformance.http.client import MAX_ATTEMPTS, Server, Target
from conformance.verdicts import Inconclusive, ServerError

Answer = Callable[[int], httpx.Response]


def make_server(answer: Answer, timeout: float = 5.0) -> Server:
    """Return the client of a server that answers request number n, from 1, with `answer(n)`."""
    count = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return answer(count)

    http = httpx.Client(transport=httpx.MockTransport(handle), timeout=timeout)
    return Target(base="http://test/v1", model="m", http=http).server("check")


def busy(status: int = 429) -> httpx.Response:
    return httpx.Response(status, headers={"retry-after": "0"}, json={})


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_retried(status: int) -> None:
    server = make_server(lambda n: busy(status) if n < 3 else httpx.Response(200, json={"id": "a"}))
    assert server.post().json == {"id": "a"}
    assert server.requests == server.target.budget.spent == 3


def test_always_busy_server_is_inconclusive() -> None:
    server = make_server(lambda n: busy())
    with pytest.raises(Inconclusive, match="busy"):
        server.post()
    assert server.requests == MAX_ATTEMPTS


def test_lost_connection_is_retried_once() -> None:
    def drop_until(until: int) -> Answer:
        def answer(n: int) -> httpx.Response:
            if n <= until:
                raise httpx.RemoteProtocolError("gone")
            return httpx.Response(200, json={})

        return answer

    assert make_server(drop_until(1)).post().status == 200
    with pytest.raises(ServerError, match="gone"):
        make_server(drop_until(2)).post()


def test_endless_response_times_out() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"data: {}\n\n"

    server = make_server(lambda n: httpx.Response(200, content=endless()), timeout=0.2)
    with pytest.raises(ServerError, match="no end"):
        server.post()


def test_temporary_failure_is_not_a_missing_capability() -> None:
    flaky = Capability("flaky", lambda server: None if server.post().status == 200 else fail())
    assert (
        require_capability(
            make_server(lambda n: httpx.Response(500 if n == 1 else 200, json={})), flaky
        )
        is None
    )
    with pytest.raises(ServerError, match="needs flaky"):
        require_capability(make_server(lambda n: httpx.Response(500, json={})), flaky)


def fail() -> None:
    raise ServerError("answered 500")
