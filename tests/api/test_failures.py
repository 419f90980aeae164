"""Requests that cannot be served, engines that fail, and clients that disconnect."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import stream as stream_module
from api.app import create_app
from tests.api.conftest import Build, toy_engine, wait_until
from tests.api.http_client import Json, RawRequest, body_bytes, choice, parse_events, post
from tests.api.toy import VOCABULARY, ToyEngine, ToyTokenizer, toy_model

# Requests that the model cannot serve


def test_prompt_without_tokens_is_400() -> None:
    served = toy_model(tokenizer=ToyTokenizer(bos_id=None))
    client = TestClient(create_app([served]))
    response = post(client, prompt="")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "empty_prompt")
    assert choice(client, prompt="w")["text"] == "xyz"
    served.engine.close()


def test_token_beyond_the_vocabulary_is_400() -> None:
    """Some tokenizers have added tokens that the model lacks."""

    class Padded(ToyTokenizer):
        vocab_size = VOCABULARY + 1

        def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
            return [VOCABULARY if text == "<pad>" else 24]

    served = toy_model(tokenizer=Padded())
    client = TestClient(create_app([served]))
    response = post(client, prompt=["w", "<pad>"])
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("unknown_token", "prompt")
    assert str(VOCABULARY) in error["message"]
    assert choice(client, prompt="w")["text"] == "xyz"
    served.engine.close()


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"schema": {"multipleOf": 0.01}, "strict": True}},
        {"type": "json_schema", "json_schema": {"schema": {"enum": []}}},
        {"type": "regex", "regex": "(a"},
        {"type": "regex", "regex": "(a{1000}){1000}"},
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_unsupported_format_is_400(
    toy_client: TestClient, response_format: Json, streamed: bool
) -> None:
    response = post(toy_client, response_format=response_format, stream=streamed)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "unsupported_response_format" and error["param"] == "response_format"


# Engines that fail


def test_unhealthy_engine_is_503(build: Build) -> None:
    served, second = build(), build("second")
    toy_engine(served).healthy = False
    client = TestClient(create_app([served, second]))
    refused = post(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_down")
    assert "retry-after" in refused.headers
    assert post(client, model="second").status_code == 200
    health = client.get("/health")
    assert health.status_code == 503
    assert health.json() == {"status": "down", "models": {"toy": "down", "second": "ok"}}


@pytest.mark.parametrize("streamed", [False, True])
def test_silent_engine_death_is_503(
    build: Build, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setattr(stream_module, "HEALTH_CHECK_TIMEOUT", 0.05)
    served = build(hangs=True)
    toy_engine(served).submit = dying(toy_engine(served))  # type: ignore[method-assign]
    response = post(TestClient(create_app([served])), stream=streamed)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_down")


def dying(engine: ToyEngine) -> Callable[..., int]:
    submit = engine.submit

    def submit_and_die(*args: Any) -> int:
        engine.healthy = False
        return submit(*args)

    return submit_and_die


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("streamed", [False, True])
def test_error_before_the_first_token_sets_the_status(
    build: Build, rounds: int, streamed: bool
) -> None:
    client = TestClient(create_app([build(fail_after=rounds)]))
    response = post(client, stream=streamed, echo=True)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text


def test_error_after_the_first_token_is_an_event(build: Build) -> None:
    client = TestClient(create_app([build(fail_after=3)]))
    assert post(client).status_code == 500
    response = post(client, stream=True)
    assert response.status_code == 200
    *texts, last = parse_events(response.text)
    assert [e["choices"][0]["text"] for e in texts] == ["x", "y"]
    assert set(last) == {"error"} and last["error"]["code"] == "internal_error"
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert "secret" not in response.text


def test_unexpected_exception_is_500(build: Build) -> None:
    served = build()
    toy_engine(served).submit = None  # type: ignore[method-assign,assignment]
    client = TestClient(create_app([served]), raise_server_exceptions=False)
    response = post(client)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")


# Clients that disconnect, and choices that are aborted


@pytest.mark.parametrize("prompt", ["~", ["~", "~", "w"]])
def test_disconnect_from_stream_aborts_request(build: Build, prompt: Any) -> None:
    served = build(pause=0.02)
    engine = toy_engine(served)
    request = RawRequest(
        [body_bytes(prompt=prompt, stream=True)], disconnect_when=disconnect_at_third_token()
    )
    asyncio.run(request.run(app := create_app([served])))
    wait_until(lambda: engine.idle)
    assert max(engine.tokens.values()) <= 5
    assert b"[DONE]" not in request.body
    assert app.state.service.in_flight == 0


def disconnect_at_third_token() -> Callable[[Any], bool]:
    has_token = []

    def disconnect(message: Any) -> bool:
        has_token.append(b"~" in message.get("body", b""))
        return sum(has_token) >= 3

    return disconnect


@pytest.mark.parametrize("params", [{}, {"stream": True, "stop": "~" * 99}], ids=str)
def test_disconnect_without_output_aborts_request(build: Build, params: Any) -> None:
    """The response is not streamed, or its text is withheld for a stop string."""
    served = build(pause=0.02)
    engine, app = toy_engine(served), create_app([served])
    request = RawRequest([body_bytes(prompt="~", **params)])

    async def disconnect() -> None:
        while engine.tokens[1] < 3:
            await asyncio.sleep(0.001)
        request.disconnected.set()

    async def run_and_disconnect() -> None:
        await asyncio.gather(request.run(app), disconnect())

    asyncio.run(run_and_disconnect())
    assert request.status in (None, 200) and request.body == b""
    wait_until(lambda: engine.idle)
    assert engine.tokens[1] <= 5
    assert app.state.service.in_flight == 0


def test_stop_string_aborts_the_choice(build: Build) -> None:
    """The strides are 1 and 2: choice 0 is b c …, and choice 1 begins with c."""
    served = build(pause=0.02)
    client = TestClient(create_app([served]))
    response = post(client, prompt="a", n=2, seed=0, temperature=1, stop="c")
    assert [c["text"] for c in response.json()["choices"]] == ["b", ""]
    wait_until(lambda: toy_engine(served).idle)
    assert toy_engine(served).tokens[1] <= 5


def test_stop_string_aborts_only_its_choice(build: Build) -> None:
    """The strides are 1 and 2: choice 0 is b c d e …, and choice 1 is c e g i …"""
    served = build(pause=0.01)
    response = post(
        TestClient(create_app([served])), prompt="a", n=2, seed=0, temperature=1, stop="d"
    )
    assert [c["text"] for c in response.json()["choices"]] == ["bc", "cegikmoqsuwy"]
    assert response.json()["usage"]["completion_tokens"] == 3 + 13
    assert toy_engine(served).tokens[1] <= 3 + 13 + 2
