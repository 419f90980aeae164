"""Running checks: any behavior of a server becomes a result, without a key in it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from conformance.harness import runner
from conformance.harness.registry import Check, Function, selected
from conformance.harness.result import Report
from conformance.http.budget import Budget
from conformance.http.client import (
    Server,
    Target,
)
from conformance.verdicts import Depth, Evidence, Failed, Level, Verdict
from reference.bundle import Bundle
from tests.conformance.conftest import target
from tests.conformance.factories import report
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import mutate_body

KEY = "sk-0123456789abcdef"
CHEAP = ["top_p/zero-keeps-argmax", "top_p/range"]  # the first one samples


@contextmanager
def answering(answer: Callable[[httpx.Request], httpx.Response], **fields: Any) -> Iterator[Target]:
    """Serve a function as the target."""
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        yield Target(base="http://fake/v1", model="fake", http=http, **fields)


def make_check(function: Function, name: str = "top_p/made", exclusive: bool = False) -> Check:
    evidence, depth = Evidence.EXACT, Depth.PROTOCOL
    return Check(name, "It holds.", Level.MUST, evidence, depth, (), "RFC", exclusive, function)


def completes(server: Server) -> None:
    server.complete()


def reads_logprobs(server: Server) -> None:
    server.complete().choice.logprobs.tokens[0].upper()


def succeed(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"index": 0, "text": "a"}]})


def bodies_of_run(model: Bundle, seed: int) -> list[str]:
    """Return the sorted bodies: requests on several threads arrive in any order."""
    bodies: list[str] = []

    def record(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(json.dumps(body, sort_keys=True))
        return body

    with target(mutate_body(conforming_app(model), record), model) as recorded:
        runner.run(replace(recorded, seed=seed), selected(CHEAP))
    return sorted(bodies)


def test_seed_determines_requests(tiny_model: Bundle) -> None:
    bodies = bodies_of_run(tiny_model, 7)
    assert bodies == bodies_of_run(tiny_model, 7) and len(bodies) > 40
    assert bodies != bodies_of_run(tiny_model, 8)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_budget_limits_requests(tiny_model: Bundle, concurrency: int) -> None:
    arrived: list[object] = []
    app = mutate_body(conforming_app(tiny_model), lambda body: arrived.append(1) or body)
    with target(app, tiny_model) as recorded:
        limited = replace(recorded, budget=Budget(10))
        results = runner.run(limited, selected(CHEAP), concurrency)
    assert len(arrived) == limited.budget.spent == 10
    stopped = [r for r in results if r.verdict is Verdict.INCONCLUSIVE]
    assert stopped and all("10 requests" in r.note for r in stopped)
    assert sum(r.requests for r in results) <= 10


def test_closed_budget_sends_no_request() -> None:
    budget = Budget()
    budget.closed = "interrupted"
    with answering(succeed, budget=budget) as fake:
        result = runner.run_one(fake, make_check(completes))
    assert (result.verdict, result.note, budget.spent) == (Verdict.INCONCLUSIVE, "interrupted", 0)


def test_retry_counts_as_a_request() -> None:
    arrived: list[httpx.Request] = []

    def drop(request: httpx.Request) -> httpx.Response:
        arrived.append(request)
        raise httpx.RemoteProtocolError("gone")

    for allowed, verdict in ((1, Verdict.INCONCLUSIVE), (2, Verdict.ERROR)):
        with answering(drop, budget=Budget(allowed)) as fake:
            assert runner.run_one(fake, make_check(completes)).verdict is verdict
        assert len(arrived) == allowed
        arrived.clear()


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


RESPONSES: dict[str, tuple[Callable[[httpx.Request], httpx.Response], Verdict]] = {
    "well": (succeed, Verdict.PASS),
    "400": (lambda r: httpx.Response(400, text="no"), Verdict.UNSUPPORTED),
    "500": (lambda r: httpx.Response(500, text="no"), Verdict.ERROR),
    "301": (lambda r: httpx.Response(301, headers={"location": "http://b"}), Verdict.ERROR),
    "no response": (refuse, Verdict.ERROR),
    "not JSON": (lambda r: httpx.Response(200, text="<html>"), Verdict.FAIL),
    "a list": (lambda r: httpx.Response(200, text="[]"), Verdict.FAIL),
    "deep": (lambda r: httpx.Response(200, text='{"a":' * 100_000), Verdict.ERROR),
    "an odd charset": (
        lambda r: httpx.Response(200, content=b"{}", headers={"content-type": "a/b; charset=hex"}),
        Verdict.ERROR,
    ),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_response_gives_a_verdict(name: str) -> None:
    answer, verdict = RESPONSES[name]
    with answering(answer) as fake:
        [result] = runner.run(fake, [make_check(completes)])
    assert result.verdict is verdict, result
    assert (result.at is None) == (verdict is Verdict.PASS)
    assert result.requests == 1


def test_unreadable_response_is_an_error() -> None:
    logprobs = {"tokens": [None], "token_logprobs": [0], "top_logprobs": [None], "text_offset": [0]}
    choice = {"index": 0, "text": "a", "logprobs": logprobs}
    with answering(lambda r: httpx.Response(200, json={"choices": [choice]})) as fake:
        result = runner.run_one(fake, make_check(reads_logprobs))
    assert result.verdict is Verdict.ERROR and "could not be read" in result.note


def test_lone_surrogate_is_escaped() -> None:
    def fails(server: Server) -> None:
        raise Failed("a \ud800", server.complete().text, note="\udfff")

    body = '{"choices": [{"text": "\\ud83d"}]}'
    with answering(lambda r: httpx.Response(200, text=body)) as fake:
        result = runner.run_one(fake, make_check(fails))
    assert (result.expected, result.seen, result.note) == ("a \\ud800", "\\ud83d", "\\udfff")
    assert Report.model_validate_json(report([result]).model_dump_json()) == report([result])


def echo_key(request: httpx.Request) -> httpx.Response:
    """Send the key back in each kind of response."""
    given = request.headers["authorization"]
    if b"broken" in request.content:
        raise httpx.RemoteProtocolError(f"illegal: {given}")
    if b"refused" in request.content:
        return httpx.Response(400, text=given, headers={"x-given": given})
    return httpx.Response(200, json={"choices": [{"index": 0, "text": f"you are {given}"}]})


def test_echoed_key_is_redacted() -> None:
    def echoes_key(server: Server) -> None:
        answer = server.complete()
        raise Failed(f"not {answer.text}", [answer.text], note=answer.text, at=answer.at)

    def sends_part_of_key(server: Server) -> None:
        server.send(headers={"authorization": f"Bearer {KEY[:-1]}"})
        raise Failed("a", server.last and server.last.response)

    checks = [
        make_check(echoes_key, "top_p/text"),
        make_check(sends_part_of_key, "top_p/part"),
        make_check(lambda s: s.complete(prompt="broken") and None, "top_p/broken"),
        make_check(lambda s: s.complete(prompt="refused") and None, "top_p/refused"),
    ]
    with answering(echo_key, api_key=KEY) as fake:
        results = runner.run(fake, checks)
    verdicts = [r.verdict for r in results]
    assert verdicts == [Verdict.FAIL, Verdict.FAIL, Verdict.ERROR, Verdict.UNSUPPORTED]
    text = report(results).model_dump_json()
    assert KEY[:-1] not in text and "$API_KEY" in text


def test_exclusive_checks_run_alone() -> None:
    running, max_running, during_exclusive = 0, 0, []
    lock, barrier = threading.Lock(), threading.Barrier(2, timeout=10)

    def count(exclusive: bool) -> None:
        nonlocal running, max_running
        with lock:
            running += 1
            max_running = max(max_running, running)
        if exclusive:
            during_exclusive.append(running)
        else:
            barrier.wait()
        with lock:
            running -= 1

    def counting_check(name: str, exclusive: bool) -> Check:
        return make_check(lambda server: count(exclusive), name, exclusive)

    exclusive = {"a/1": True, "a/2": False, "a/3": True, "a/4": False}
    checks = [counting_check(name, value) for name, value in exclusive.items()]
    reported: list[str] = []
    with answering(succeed) as fake:
        results = runner.run(fake, checks, 2, lambda result: reported.append(result.id))
    assert [r.id for r in results] == ["a/1", "a/2", "a/3", "a/4"]
    assert all(r.verdict is Verdict.PASS for r in results), results
    assert (max_running, during_exclusive) == (2, [1, 1])
    assert sorted(reported) == ["a/1", "a/2", "a/3", "a/4"]
