"""What a server may do to whoever asks it: be busy, hang up, never end."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from conformance.harness.capabilities import Capability, demand
from conformance.http.client import ATTEMPTS, Server, Target
from conformance.verdicts import Broken, Inconclusive

Answering = Callable[[int], httpx.Response]


def server(answering: Answering, timeout: float = 5.0) -> Server:
    """Of a server that answers each request by its number, from 1."""
    count = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal count
        count += 1
        return answering(count)

    http = httpx.Client(transport=httpx.MockTransport(answer), timeout=timeout)
    return Target(base="http://test/v1", model="m", http=http).server("check")


def busy(status: int = 429) -> httpx.Response:
    return httpx.Response(status, headers={"retry-after": "0"}, json={})


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_busy_is_asked_again(status: int) -> None:
    asked = server(lambda n: busy(status) if n < 3 else httpx.Response(200, json={"id": "a"}))
    assert asked.post().json == {"id": "a"}
    assert asked.requests == asked.target.budget.spent == 3


def test_who_is_always_busy_says_nothing() -> None:
    asked = server(lambda n: busy())
    with pytest.raises(Inconclusive, match="busy"):
        asked.post()
    assert asked.requests == ATTEMPTS


def test_who_hangs_up_is_asked_once_more() -> None:
    def hung_up(until: int) -> Answering:
        def answer(n: int) -> httpx.Response:
            if n <= until:
                raise httpx.RemoteProtocolError("gone")
            return httpx.Response(200, json={})

        return answer

    assert server(hung_up(1)).post().status == 200
    with pytest.raises(Broken, match="gone"):
        server(hung_up(2)).post()


def test_an_answer_without_end_is_not_waited_for() -> None:
    def dripping() -> Iterator[bytes]:
        while True:
            yield b"data: {}\n\n"

    asked = server(lambda n: httpx.Response(200, content=dripping()), timeout=0.2)
    with pytest.raises(Broken, match="no end"):
        asked.post()


def test_a_moments_failure_is_no_lack() -> None:
    flaky = Capability("flaky", lambda asked: None if asked.post().status == 200 else broken())
    assert demand(server(lambda n: httpx.Response(500 if n == 1 else 200, json={})), flaky) is None
    with pytest.raises(Broken, match="needs flaky"):
        demand(server(lambda n: httpx.Response(500, json={})), flaky)


def broken() -> None:
    raise Broken("answered 500")
