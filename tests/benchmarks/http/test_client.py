"""Streams as bytes, and requests to a server that this process simulates."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.http.client import InvalidStream, Outcome, parse, run_client, send, split_events
from benchmarks.http.workloads import Client, Turn

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def token(**fields: Any) -> bytes:
    return event(choices=[{"index": 0, "text": "a"} | fields])


def usage(tokens: int) -> bytes:
    return event(choices=[], usage={"completion_tokens": tokens})


def ids(*tokens: int) -> Json:
    return {"logprobs": {"tokens": [f"token_id:{t}" for t in tokens]}}


def test_times_are_those_of_the_chunk_that_completes_an_event() -> None:
    first, second = token(), token()
    chunks = [
        (1.0, first[:5]),
        (2.0, first[5:] + second[:-1]),
        (3.0, second[-1:] + usage(2) + DONE),
    ]
    outcome = parse(chunks, "group")
    assert outcome == Outcome("group", (2.0, 3.0), 2)


def test_events_of_a_chunk_have_the_same_time() -> None:
    last = token(text="", finish_reason="length")  # not a token, but the end of the choice
    outcome = parse([(1.0, token() + token()), (2.0, token()), (3.0, last + DONE)], "g")
    assert outcome.seconds == (1.0, 1.0, 2.0)
    assert outcome.num_tokens == 3  # events, without a usage


def test_tokens_are_counted_by_the_server() -> None:
    # A token without text has no event; several tokens may be in one.
    assert parse([(1.0, token() + usage(5) + DONE)], "g").num_tokens == 5


@given(st.lists(st.integers(1, 200)), st.booleans())
def test_events_do_not_depend_on_the_chunks(cuts: list[int], crlf: bool) -> None:
    data = b": keep-alive\n\n" + token(text="é\u2028") + token() + usage(2) + DONE
    data = data.replace(b"\n", b"\r\n") if crlf else data
    chunks, start = [], 0
    for cut in [*cuts, len(data)]:
        chunks.append((0.0, data[start : start + cut]))
        start += cut
    assert [d for _, d in split_events(chunks)] == [d for _, d in split_events([(0.0, data)])]
    assert parse(chunks, "g").num_tokens == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "without"),
        (token() + usage(1), "without"),
        (token() + event(error={"message": "engine down"}) + DONE, "engine down"),
        (usage(0) + DONE, "no tokens"),
        (b"data: {\n\n" + DONE, "not JSON"),
    ],
)
def test_incomplete_streams_are_errors(data: bytes, message: str) -> None:
    with pytest.raises(InvalidStream, match=message):
        parse([(0.0, data)], "g")


def test_token_ids_in_two_notations() -> None:
    llama_cpp = {"logprobs": {"content": [{"id": 7, "token": "a"}]}}
    assert parse([(0.0, token(**ids(5, 6)) + usage(2) + DONE)], "g", True).output == (5, 6)
    assert parse([(0.0, token(**llama_cpp) + usage(1) + DONE)], "g", True).output == (7,)
    with pytest.raises(InvalidStream, match="0 token ids are reported of 1 tokens"):
        parse([(0.0, token() + usage(1) + DONE)], "g", True)


def simulated(answer: Callable[[Json], httpx.Response]) -> httpx.AsyncClient:
    """Return a client of a server that is a function of the request's body."""
    transport = httpx.MockTransport(lambda request: answer(json.loads(request.content)))
    return httpx.AsyncClient(base_url="http://simulated/v1", transport=transport)


def test_request_is_greedy_and_streamed() -> None:
    sent: list[Json] = []

    def answer(body: Json) -> httpx.Response:
        sent.append(body)
        return httpx.Response(200, content=token() + usage(1) + DONE)

    async def run() -> Outcome:
        async with simulated(answer) as http:
            return await send(http, "m", Turn((300, 301), 9), (300, 301))

    assert asyncio.run(run()).error is None
    [body] = sent
    assert (body["model"], body["prompt"], body["max_tokens"]) == ("m", [300, 301], 9)
    assert body["temperature"] == 0 and body["stream"] and body["ignore_eos"]
    assert "logprobs" not in body


@pytest.mark.parametrize("status", [400, 429, 503])
def test_refused_request_is_not_completed(status: int) -> None:
    async def run() -> Outcome:
        async with simulated(lambda body: httpx.Response(status, text="refused")) as http:
            return await send(http, "m", Turn((300,), 1, group="g"), (300,))

    outcome = asyncio.run(run())
    assert outcome.error == f"InvalidStream: status {status}: refused"
    assert (outcome.group, outcome.num_tokens) == ("g", 0)


def test_second_turn_has_the_first_turn_as_its_prefix() -> None:
    sent: list[Json] = []

    def answer(body: Json) -> httpx.Response:
        sent.append(body)
        return httpx.Response(200, content=token(**ids(400, 401)) + usage(2) + DONE)

    async def run() -> list[Outcome]:
        turns = (Turn((300,), 2), Turn((301,), 2, continues=True), Turn((302,), 2))
        async with simulated(answer) as http:
            return await run_client(http, "m", Client(turns))

    outcomes = asyncio.run(run())
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [body["prompt"] for body in sent] == [[300], [300, 400, 401, 301], [302]]
    assert ["logprobs" in body for body in sent] == [True, False, False]


def test_turns_after_a_failure_fail() -> None:
    async def run() -> list[Outcome]:
        turns = (Turn((300,), 1, group="1"), Turn((301,), 1, continues=True, group="2"))
        async with simulated(lambda body: httpx.Response(500, text="down")) as http:
            return await run_client(http, "m", Client(turns))

    first, second = asyncio.run(run())
    assert first.error == "InvalidStream: status 500: down"
    assert second.error == f"a turn before failed: {first.error}" and second.group == "2"
