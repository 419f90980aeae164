"""Requests over a socket: the official OpenAI client, and clients that disconnect."""

import json
import socket
from typing import Any

import httpx
import openai
import pytest

from api.app import create_app
from api.engine import ServedModel
from tests.api.conftest import running_server, wait_until
from tests.api.http_client import parse_events
from tests.api.toy import ToyEngine, toy_model


@pytest.fixture(params=["/v1", "/v1/openai"])
def openai_client(live: str, request: pytest.FixtureRequest) -> Any:
    with openai.OpenAI(base_url=live + request.param, api_key="k", max_retries=0) as client:
        yield client


def test_openai_client(openai_client: openai.OpenAI, served: ServedModel) -> None:
    completion = openai_client.completions.create(
        model=served.name,
        prompt="once upon",
        max_tokens=5,
        temperature=0,
        logprobs=2,
        n=2,
        seed=1,
        extra_body={"top_k": 3, "min_p": 0.1},
    )
    assert [c.index for c in completion.choices] == [0, 1]
    assert completion.choices[0].text == completion.choices[1].text
    assert completion.choices[0].logprobs and completion.choices[0].logprobs.tokens
    assert completion.usage and completion.usage.prompt_tokens_details
    assert [m.id for m in openai_client.models.list()] == [served.name]
    assert openai_client.models.retrieve(served.name).id == served.name


def test_openai_client_streaming(openai_client: openai.OpenAI, served: ServedModel) -> None:
    """Every event has `choices[0]`, which the published sample reads."""
    body: dict[str, Any] = {"model": served.name, "prompt": [[5, 6], [7]], "temperature": 0}
    whole = openai_client.completions.create(**body, max_tokens=5)
    texts = {0: "", 1: ""}
    usage = None
    for event in openai_client.completions.create(**body, max_tokens=5, stream=True):
        texts[event.choices[0].index] += event.choices[0].text
        usage = event.usage or usage
    assert texts == {c.index: c.text for c in whole.choices}
    assert usage and whole.usage and usage.total_tokens == whole.usage.total_tokens


def test_openai_client_errors(openai_client: openai.OpenAI, served: ServedModel) -> None:
    create: Any = openai_client.completions.create
    with pytest.raises(openai.NotFoundError) as missing:
        create(model="no", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError):
        create(model=served.name, prompt="x", n=9)
    with pytest.raises(openai.BadRequestError) as long:
        create(model=served.name, prompt=[5] * served.context, stream=True)
    assert long.value.code == "context_length_exceeded"


def test_openai_client_authentication() -> None:
    served = toy_model()
    with running_server(create_app([served], keys=["right"])) as address:
        for key, works in ("right", True), ("wrong", False):
            with openai.OpenAI(base_url=address + "/v1", api_key=key, max_retries=0) as client:
                if works:
                    assert client.completions.create(model="toy", prompt="w", temperature=0)
                else:
                    with pytest.raises(openai.AuthenticationError):
                        client.completions.create(model="toy", prompt="w")
    served.engine.close()


def test_openai_client_raises_mid_stream_error() -> None:
    served = toy_model(ToyEngine(fail_after=3))
    with (
        running_server(create_app([served])) as address,
        openai.OpenAI(base_url=address + "/v1", api_key="k", max_retries=0) as client,
    ):
        stream = client.completions.create(model="toy", prompt="w", temperature=0, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
    served.engine.close()


@pytest.mark.parametrize("stream", [True, False])
def test_closed_connection_aborts_request(stream: bool) -> None:
    engine = ToyEngine(pause=0.03)
    body = json.dumps({"model": "toy", "prompt": "~", "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with running_server(create_app([toy_model(engine)])) as address:
        port = int(address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + body)
            wait_until(lambda: engine.tokens[1] >= 3)
        wait_until(lambda: engine.idle, 1)
        assert engine.tokens[1] <= 6
    engine.close()


def test_concurrent_requests_are_answered() -> None:
    engine = ToyEngine(pause=0.01)
    with (
        running_server(create_app([toy_model(engine)])) as address,
        httpx.Client(base_url=address) as client,
    ):
        body = {"model": "toy", "prompt": "~", "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            assert httpx.get(address + "/health").status_code == 200
            short = {"model": "toy", "prompt": "w", "temperature": 0}
            assert httpx.post(address + "/v1/completions", json=short).status_code == 200
            assert not engine.idle
            rest = "\n".join(lines)
    assert rest.rstrip().endswith("data: [DONE]")
    engine.close()


def test_health_is_answered_during_computation(reference_served: ServedModel) -> None:
    """The reference computes on its own thread, and does not block the event loop."""
    prompt = ["once upon a time"] * 64
    body = {"model": reference_served.name, "prompt": prompt, "n": 4, "stream": True}
    with running_server(create_app([reference_served])) as address:
        with httpx.stream("POST", address + "/v1/completions", json=body) as response:
            lines = response.iter_lines()
            next(lines)
            for _ in range(3):
                assert httpx.get(address + "/health", timeout=2).status_code == 200
            assert reference_served.engine.stats().waiting > 0


def test_stream_headers(live: str, served: ServedModel) -> None:
    body = {"model": served.name, "prompt": "once", "max_tokens": 3, "stream": True}
    response = httpx.post(live + "/v1/completions", json=body)
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["transfer-encoding"] == "chunked"
    assert parse_events(response.text)


def test_large_body_is_refused_while_sent(live: str) -> None:
    def parts() -> Any:
        for _ in range(40):
            yield b" " * 2**20

    response = httpx.post(live + "/v1/completions", content=parts())
    assert response.status_code == 413
