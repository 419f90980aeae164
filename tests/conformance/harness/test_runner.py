"""Checks are run, and whatever a server does there is a result, without a key in it."""

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
from conformance.http.client import Budget, Server, Target
from conformance.verdicts import Depth, Evidence, Failed, Level, Verdict
from reference.bundle import Bundle
from tests.conformance.conftest import target
from tests.conformance.factories import report
from tests.conformance.mutations import asking, whole

KEY = "sk-0123456789abcdef"
CHEAP = ["top_p/zero-keeps-the-likeliest", "top_p/out-of-range-is-refused"]  # one draws


@contextmanager
def answering(answer: Callable[[httpx.Request], httpx.Response], **fields: Any) -> Iterator[Target]:
    """A server that is a function."""
    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        yield Target(base="http://fake/v1", model="fake", http=http, **fields)


def check(function: Function, name: str = "top_p/made", alone: bool = False) -> Check:
    evidence, depth = Evidence.EXACT, Depth.PROTOCOL
    return Check(name, "It holds.", Level.MUST, evidence, depth, (), "RFC", alone, function)


def asks(server: Server) -> None:
    server.ask()


def reads(server: Server) -> None:
    server.ask().choice.rows.tokens[0].upper()


def well(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"index": 0, "text": "a"}]})


def sent_by_a_run(model: Bundle, seed: int) -> list[str]:
    """The bodies, but for the order in which requests on several threads arrive."""
    bodies: list[str] = []

    def record(body: dict[str, Any]) -> dict[str, Any]:
        bodies.append(json.dumps(body, sort_keys=True))
        return body

    with target(asking(whole(model), record), model) as recorded:
        runner.run(replace(recorded, seed=seed), selected(CHEAP))
    return sorted(bodies)


def test_a_seed_asks_the_same_again(tiny_model: Bundle) -> None:
    one = sent_by_a_run(tiny_model, 7)
    assert one == sent_by_a_run(tiny_model, 7) and len(one) > 40
    assert one != sent_by_a_run(tiny_model, 8)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_is_sent_than_is_allowed(tiny_model: Bundle, concurrency: int) -> None:
    arrived: list[object] = []
    app = asking(whole(tiny_model), lambda body: arrived.append(1) or body)
    with target(app, tiny_model) as recorded:
        limited = replace(recorded, budget=Budget(10))
        results = runner.run(limited, selected(CHEAP), concurrency)
    assert len(arrived) == limited.budget.spent == 10
    spent = [r for r in results if r.verdict is Verdict.INCONCLUSIVE]
    assert spent and all("10 requests" in r.note for r in spent)
    assert sum(r.requests for r in results) <= 10


def test_a_closed_budget_lets_nothing_through() -> None:
    budget = Budget()
    budget.closed = "interrupted"
    with answering(well, budget=budget) as fake:
        result = runner.run_one(fake, check(asks))
    assert (result.verdict, result.note, budget.spent) == (Verdict.INCONCLUSIVE, "interrupted", 0)


def test_asking_again_is_one_more_request() -> None:
    arrived: list[httpx.Request] = []

    def drop(request: httpx.Request) -> httpx.Response:
        arrived.append(request)
        raise httpx.RemoteProtocolError("gone")

    for allowed, verdict in ((1, Verdict.INCONCLUSIVE), (2, Verdict.ERROR)):
        with answering(drop, budget=Budget(allowed)) as fake:
            assert runner.run_one(fake, check(asks)).verdict is verdict
        assert len(arrived) == allowed
        arrived.clear()


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


ANSWERS: dict[str, tuple[Callable[[httpx.Request], httpx.Response], Verdict]] = {
    "well": (well, Verdict.PASS),
    "400": (lambda r: httpx.Response(400, text="no"), Verdict.UNSUPPORTED),
    "500": (lambda r: httpx.Response(500, text="no"), Verdict.ERROR),
    "301": (lambda r: httpx.Response(301, headers={"location": "http://b"}), Verdict.ERROR),
    "no answer": (refuse, Verdict.ERROR),
    "no JSON": (lambda r: httpx.Response(200, text="<html>"), Verdict.FAIL),
    "a list": (lambda r: httpx.Response(200, text="[]"), Verdict.FAIL),
    "deep": (lambda r: httpx.Response(200, text='{"a":' * 100_000), Verdict.ERROR),
    "an odd charset": (
        lambda r: httpx.Response(200, content=b"{}", headers={"content-type": "a/b; charset=hex"}),
        Verdict.ERROR,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_whatever_a_server_does_is_a_result(name: str) -> None:
    answer, verdict = ANSWERS[name]
    with answering(answer) as fake:
        result = runner.run_one(fake, check(asks))
    assert result.verdict is verdict, result
    assert (result.at is None) == (verdict is Verdict.PASS)
    assert result.requests == 1


def test_what_is_in_the_wrong_place_is_an_error() -> None:
    rows = {"tokens": [None], "token_logprobs": [0], "top_logprobs": [None], "text_offset": [0]}
    choice = {"index": 0, "text": "a", "logprobs": rows}
    with answering(lambda r: httpx.Response(200, json={"choices": [choice]})) as fake:
        result = runner.run_one(fake, check(reads))
    assert result.verdict is Verdict.ERROR and "could not be read" in result.note


def test_half_a_character_does_not_end_the_run() -> None:
    def halves(server: Server) -> None:
        raise Failed("a \ud800", server.ask().text, note="\udfff")

    body = '{"choices": [{"text": "\\ud83d"}]}'
    with answering(lambda r: httpx.Response(200, text=body)) as fake:
        result = runner.run_one(fake, check(halves))
    assert (result.expected, result.seen, result.note) == ("a \\ud800", "\\ud83d", "\\udfff")
    assert Report.model_validate_json(report([result]).model_dump_json()) == report([result])


def echoing(request: httpx.Request) -> httpx.Response:
    """All that came is sent back, in the ways there are."""
    given = request.headers["authorization"]
    if b"broken" in request.content:
        raise httpx.RemoteProtocolError(f"illegal: {given}")
    if b"refused" in request.content:
        return httpx.Response(400, text=given, headers={"x-given": given})
    return httpx.Response(200, json={"choices": [{"index": 0, "text": f"you are {given}"}]})


def test_a_key_that_is_sent_back_is_shown_nowhere() -> None:
    def says(server: Server) -> None:
        answer = server.ask()
        raise Failed(f"not {answer.text}", [answer.text], note=answer.text, at=answer.at)

    def cut(server: Server) -> None:
        server.send(headers={"authorization": f"Bearer {KEY[:-1]}"})
        raise Failed("a", server.last and server.last.response)

    checks = [
        check(says, "top_p/says"),
        check(cut, "top_p/cut"),
        check(lambda s: s.ask(prompt="broken") and None, "top_p/broken"),
        check(lambda s: s.ask(prompt="refused") and None, "top_p/refused"),
    ]
    with answering(echoing, api_key=KEY) as fake:
        results = runner.run(fake, checks)
    verdicts = [r.verdict for r in results]
    assert verdicts == [Verdict.FAIL, Verdict.FAIL, Verdict.ERROR, Verdict.UNSUPPORTED]
    text = report(results).model_dump_json()
    assert KEY[:-1] not in text and "$API_KEY" in text


def test_results_are_in_order_and_some_checks_are_alone() -> None:
    running, most, with_alone = 0, 0, []
    lock, met = threading.Lock(), threading.Barrier(2, timeout=10)

    def counted(server: Server, alone: bool) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if alone:
            with_alone.append(running)
        else:
            met.wait()
        with lock:
            running -= 1

    def made(name: str, alone: bool) -> Check:
        return check(lambda server: counted(server, alone), name, alone)

    checks = [made("a/1", True), made("a/2", False), made("a/3", True), made("a/4", False)]
    told: list[str] = []
    with answering(well) as fake:
        results = runner.run(fake, checks, 2, lambda result: told.append(result.id))
    assert [r.id for r in results] == ["a/1", "a/2", "a/3", "a/4"]
    assert all(r.verdict is Verdict.PASS for r in results), results
    assert (most, with_alone) == (2, [1, 1]) and sorted(told) == ["a/1", "a/2", "a/3", "a/4"]
