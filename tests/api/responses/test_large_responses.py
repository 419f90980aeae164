"""Large responses: bounded steps on the event loop, shared echoes, a limit on their size."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.types import Message

from api import response as response_module
from api.app import create_app
from api.encoding import PART
from api.engine import ServedModel
from api.prepare import prepare
from api.response import ResponseBuilder
from api.schema.request import request_model
from api.stream import BURST, Stream
from reference.params import CompletionParams
from reference.request import Event, Request, RequestFinished, TokenGenerated
from reference.stopping import token_budget
from tests.api.http_client import Json, RawRequest, body_bytes, join_events, parse_events, post
from tests.api.toy import CONTEXT, LOOP, ToyEngine, toy_model

LARGE: Json = {
    "prompt": [[5 + i % 20 for i in range(90)]] * 40,
    "n": 2,
    "echo": True,
    "logprobs": 20,
    "max_tokens": 2,
}


class NonSuspendingRequest(RawRequest):
    """A client for which `send` never suspends. Records turns of the event loop."""

    def __init__(self, body: bytes) -> None:
        super().__init__([body])
        self.turns = 0
        self.turn_of_message: list[int] = []

    async def _send(self, message: Message) -> None:
        self.messages.append(message)
        self.turn_of_message.append(self.turns)

    async def run_counted(self, app: Any) -> None:
        task = asyncio.create_task(self.run(app))
        while not task.done():
            self.turns += 1
            await asyncio.sleep(0)
        await task


@pytest.mark.parametrize("streamed", [False, True])
def test_steps_on_the_event_loop_are_bounded(toy_served: ServedModel, streamed: bool) -> None:
    """The body is sent in small parts, and other tasks run between two parts."""
    request = NonSuspendingRequest(body_bytes(**LARGE, stream=streamed))
    asyncio.run(request.run_counted(create_app([toy_served])))
    assert request.status == 200
    sizes = [len(message.get("body", b"")) for message in request.messages]
    assert max(sizes) <= 2 * PART and sum(sizes) > 20 * PART
    parts = [t for t, size in zip(request.turn_of_message, sizes, strict=True) if size > PART // 2]
    assert len(parts) > 20 and len(set(parts)) == len(parts)


def test_large_stream_equals_whole_response(toy_client: TestClient) -> None:
    whole = post(toy_client, **LARGE)
    assert int(whole.headers["content-length"]) == len(whole.content)
    parts = join_events(parse_events(post(toy_client, **LARGE, stream=True).text))
    assert parts["choices"] == whole.json()["choices"]
    assert [c["index"] for c in parts["choices"]] == list(range(80))
    assert {len(c["logprobs"]["tokens"]) for c in parts["choices"]} == {92}


def test_choices_share_the_echo(toy_served: ServedModel) -> None:
    body = request_model(20).model_validate(
        {"model": "toy", "prompt": ["ab", "c"], "n": 3, "echo": True, "logprobs": 2}
    )

    async def run() -> list[Any]:
        builder = ResponseBuilder(prepare(toy_served, body, ""))
        async with Stream(toy_served.engine, builder.prepared.requests) as events:
            return await builder.choices(events)

    echoes = [choice.prompt_logprobs for choice in asyncio.run(run())]
    assert None not in echoes and len({id(echo) for echo in echoes}) == 2
    assert [echo is echoes[3 * (i // 3)] for i, echo in enumerate(echoes)] == [True] * 6


class BurstEngine(ToyEngine):
    """An engine that emits all events of a request when it is submitted."""

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        for i in range(20 * BURST):
            reason = "length" if i == 20 * BURST - 1 else None
            on_event(TokenGenerated(choice=0, token=LOOP, finish_reason=reason))
        on_event(RequestFinished())
        return 0


def test_other_tasks_run_during_a_burst_of_events() -> None:
    engine = BurstEngine()
    seen, turns = 0, 0

    async def consume() -> None:
        nonlocal seen
        async with Stream(engine, [Request.of([2], CompletionParams())]) as events:
            async for _ in events:
                seen += 1

    async def run() -> None:
        nonlocal turns
        task = asyncio.create_task(consume())
        while not task.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(run())
    engine.close()
    assert seen == 20 * BURST + 1 and turns >= 20


# The limit


def values(params: Json, lengths: list[int]) -> int:
    """Return the number of values that a response can have."""
    total = 0
    for length in lengths:
        for _ in range(params["n"]):
            tokens = token_budget(params["max_tokens"], CONTEXT, length)
            tokens += length if params["echo"] else 0
            total += tokens * (1 + (params["logprobs"] or 0))
    return total


@given(
    prompts=st.lists(st.integers(1, 99), min_size=1, max_size=4),
    n=st.integers(1, 4),
    logprobs=st.none() | st.integers(0, 20),
    echo=st.booleans(),
    max_tokens=st.none() | st.integers(1, 200),
    stream=st.booleans(),
)
def test_limit_of_values(toy_served: ServedModel, prompts: list[int], **params: Any) -> None:
    """A response of the maximum size is sent; one more value is refused."""
    bound = values(params, prompts)
    body = params | {"prompt": [[5] * length for length in prompts]}
    allowed = post(TestClient(create_app([toy_served], max_response_values=bound)), **body)
    assert allowed.status_code == 200
    if not params["stream"]:
        choices = allowed.json()["choices"]
        tokens = sum(len(c["logprobs"]["tokens"]) if c["logprobs"] else 0 for c in choices)
        assert tokens * (1 + (params["logprobs"] or 0)) <= bound
    refused = post(TestClient(create_app([toy_served], max_response_values=bound - 1)), **body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("response_too_large", "max_tokens")
    assert str(bound) in error["message"] and str(bound - 1) in error["message"]


def test_refused_response_is_not_submitted() -> None:
    engine = ToyEngine()
    app = create_app([toy_model(engine)], max_response_values=10)
    assert post(TestClient(app), max_tokens=11).status_code == 400
    assert post(TestClient(app), max_tokens=10).status_code == 200
    assert len(engine.requests) == 1 and app.state.service.in_flight == 0
    engine.close()


def test_limit_on_each_backend(served: ServedModel) -> None:
    client = TestClient(create_app([served], max_response_values=100))
    body = {"model": served.name, "prompt": [[5, 6], [7]], "logprobs": 3, "n": 2}
    assert post(client, **body, max_tokens=6).status_code == 200  # 4 × 6 × 4 = 96
    assert post(client, **body, max_tokens=7).json()["error"]["code"] == "response_too_large"
    assert post(client, **body, max_tokens=6, echo=True).status_code == 400


def test_limits_are_documented(toy_served: ServedModel) -> None:
    app = create_app([toy_served], max_response_values=1234, max_concurrency=56)
    document = TestClient(app).get("/openapi.json").json()
    for prefix in "/v1", "/v1/openai":
        description = document["paths"][f"{prefix}/completions"]["post"]["description"]
        assert "1234" in description and "56" in description


def test_prompt_text_is_decoded_off_the_event_loop(
    toy_served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of an echoed list of ids takes time proportional to its length."""
    threads: list[threading.Thread] = []
    decode = response_module.prompt_text

    def recording(*args: Any) -> str:
        threads.append(threading.current_thread())
        return decode(*args)

    monkeypatch.setattr(response_module, "prompt_text", recording)
    request = RawRequest([body_bytes(prompt=[[5, 6]], echo=True)])
    asyncio.run(request.run(create_app([toy_served])))
    assert json.loads(request.body)["choices"][0]["text"]
    assert threads and threading.main_thread() not in threads
