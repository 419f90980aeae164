"""A server that stops answering ends the run, and the request in flight is named."""

from collections.abc import Callable

import httpx
import pytest

from conformance.harness import liveness, runner
from conformance.harness.registry import Check
from conformance.http.client import Server
from conformance.verdicts import Verdict
from tests.conformance.harness.test_runner import answering, make_check, succeed


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "RETRY_DELAY", 0.0)


def checks(count: int, fatal: int | None = None) -> list[Check]:
    """Return checks of one request each; the prompt of one of them is "fatal"."""

    def send(server: Server, i: int) -> None:
        server.complete(prompt="fatal" if i == fatal else f"{i}")

    return [make_check(lambda s, i=i: send(s, i), f"top_p/{i}") for i in range(count)]


class Dying:
    """A server that stops after a prompt. after: how it fails from then on."""

    def __init__(self, first: Callable[[], httpx.Response], after: Callable[[], httpx.Response]):
        self.first, self.after, self.dead, self.arrived = first, after, False, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.arrived += 1
        if self.dead:
            return self.after()
        if b"fatal" in request.content:
            self.dead = True
            return self.first()
        return succeed(request)


def drop() -> httpx.Response:
    raise httpx.ReadError("reset")


def refuse() -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


def fail() -> httpx.Response:
    return httpx.Response(500, text="engine dead")


@pytest.mark.parametrize(("first", "after"), [(drop, refuse), (fail, fail), (drop, drop)])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_run_ends_with_the_server(
    first: Callable[[], httpx.Response], after: Callable[[], httpx.Response], concurrency: int
) -> None:
    server = Dying(first, after)
    with answering(server) as target:
        results = runner.run(target, checks(40, fatal=2), concurrency)
    assert server.arrived < 25
    assert results[2].verdict is Verdict.ERROR and "the server is gone" in results[2].note
    assert results[2].at is not None and "fatal" in results[2].at.curl
    rest = results[2 + concurrency :]
    assert all(r.verdict is Verdict.INCONCLUSIVE for r in rest)
    assert all(r.note.startswith("the server is gone") for r in rest)


def test_single_failure_does_not_end_the_run() -> None:
    broken = Dying(fail, lambda: succeed(httpx.Request("POST", "http://a")))
    with answering(broken) as target:
        results = runner.run(target, checks(6, fatal=1))
    verdicts = [r.verdict for r in results]
    assert verdicts == [Verdict.PASS, Verdict.ERROR, *[Verdict.PASS] * 4]


def test_restarted_server_does_not_end_the_run() -> None:
    answers = iter([drop, refuse])
    broken = Dying(
        drop, lambda: next(answers, lambda: succeed(httpx.Request("POST", "http://a")))()
    )
    with answering(broken) as target:
        results = runner.run(target, checks(4, fatal=0))
    assert [r.verdict for r in results] == [Verdict.ERROR, *[Verdict.PASS] * 3]


def test_death_between_requests_is_one_finding() -> None:
    """The server answers its last request, and refuses the next connection."""
    broken = Dying(lambda: succeed(httpx.Request("POST", "http://a")), refuse)
    with answering(broken) as target:
        results = runner.run(target, checks(5, fatal=1))
    verdicts = [r.verdict for r in results]
    assert verdicts == [Verdict.PASS, Verdict.PASS, Verdict.ERROR, *[Verdict.INCONCLUSIVE] * 2]
    assert results[2].at is not None and "fatal" in results[2].at.curl
