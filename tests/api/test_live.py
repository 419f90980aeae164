"""Over a socket: with the official client, and with a client that hangs up."""

import json
import socket
from typing import Any

import httpx
import openai
import pytest

from api.app import create_app
from api.engine import Served
from tests.api.conftest import listening, until
from tests.api.sending import events
from tests.api.toy import ToyEngine, toy


@pytest.fixture(params=["/v1", "/v1/openai"])
def openai_client(live: str, request: pytest.FixtureRequest) -> Any:
    with openai.OpenAI(base_url=live + request.param, api_key="k", max_retries=0) as client:
        yield client


def test_the_official_client(openai_client: openai.OpenAI, served: Served) -> None:
    answer = openai_client.completions.create(
        model=served.name,
        prompt="once upon",
        max_tokens=5,
        temperature=0,
        logprobs=2,
        n=2,
        seed=1,
        extra_body={"top_k": 3, "min_p": 0.1},
    )
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.choices[0].text == answer.choices[1].text
    assert answer.choices[0].logprobs and answer.choices[0].logprobs.tokens
    assert answer.usage and answer.usage.prompt_tokens_details
    assert [m.id for m in openai_client.models.list()] == [served.name]
    assert openai_client.models.retrieve(served.name).id == served.name


def test_the_official_client_streaming(openai_client: openai.OpenAI, served: Served) -> None:
    """As the published sample reads it: `event.choices[0]` on every event."""
    asked: dict[str, Any] = {"model": served.name, "prompt": [[5, 6], [7]], "temperature": 0}
    whole = openai_client.completions.create(**asked, max_tokens=5)
    texts = {0: "", 1: ""}
    usage = None
    for event in openai_client.completions.create(**asked, max_tokens=5, stream=True):
        texts[event.choices[0].index] += event.choices[0].text
        usage = event.usage or usage
    assert texts == {c.index: c.text for c in whole.choices}
    assert usage and whole.usage and usage.total_tokens == whole.usage.total_tokens


def test_the_official_client_reads_our_errors(openai_client: openai.OpenAI, served: Served) -> None:
    create: Any = openai_client.completions.create
    with pytest.raises(openai.NotFoundError) as missing:
        create(model="no", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError):
        create(model=served.name, prompt="x", n=9)
    with pytest.raises(openai.BadRequestError) as long:
        create(model=served.name, prompt=[5] * served.context, stream=True)
    assert long.value.code == "context_length_exceeded"


def test_the_official_client_without_a_key() -> None:
    served = toy()
    with listening(create_app([served], keys=["right"])) as address:
        for key, works in ("right", True), ("wrong", False):
            with openai.OpenAI(base_url=address + "/v1", api_key=key, max_retries=0) as client:
                if works:
                    assert client.completions.create(model="toy", prompt="w", temperature=0)
                else:
                    with pytest.raises(openai.AuthenticationError):
                        client.completions.create(model="toy", prompt="w")
    served.engine.close()


def test_the_official_client_sees_an_error_in_the_middle() -> None:
    served = toy(ToyEngine(fail_after=3))
    with (
        listening(create_app([served])) as address,
        openai.OpenAI(base_url=address + "/v1", api_key="k", max_retries=0) as client,
    ):
        stream = client.completions.create(model="toy", prompt="w", temperature=0, stream=True)
        with pytest.raises(openai.APIError):
            list(stream)
    served.engine.close()


@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_stops_the_engine(stream: bool) -> None:
    engine = ToyEngine(pause=0.03)
    body = json.dumps({"model": "toy", "prompt": "~", "stream": stream}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with listening(create_app([toy(engine)])) as address:
        port = int(address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head.encode() + body)
            until(lambda: engine.tokens[1] >= 3)
        until(lambda: engine.idle, 1)
        assert engine.tokens[1] <= 6
    engine.close()


def test_others_are_answered_while_a_completion_runs() -> None:
    engine = ToyEngine(pause=0.01)
    with listening(create_app([toy(engine)])) as address, httpx.Client(base_url=address) as client:
        asked = {"model": "toy", "prompt": "~", "stream": True}
        with client.stream("POST", "/v1/completions", json=asked) as response:
            lines = response.iter_lines()
            next(lines)
            assert httpx.get(address + "/health").status_code == 200
            short = {"model": "toy", "prompt": "w", "temperature": 0}
            assert httpx.post(address + "/v1/completions", json=short).status_code == 200
            assert not engine.idle
            rest = "\n".join(lines)
    assert rest.rstrip().endswith("data: [DONE]")
    engine.close()


def test_health_answers_while_the_reference_computes(reference_served: Served) -> None:
    """Its matrix products keep one thread busy, and not the one that answers."""
    prompt = ["once upon a time"] * 64
    asked = {"model": reference_served.name, "prompt": prompt, "n": 4, "stream": True}
    with listening(create_app([reference_served])) as address:
        with httpx.stream("POST", address + "/v1/completions", json=asked) as response:
            lines = response.iter_lines()
            next(lines)
            for _ in range(3):
                assert httpx.get(address + "/health", timeout=2).status_code == 200
            assert reference_served.engine.stats().waiting > 0


def test_bytes_on_the_wire(live: str, served: Served) -> None:
    asked = {"model": served.name, "prompt": "once", "max_tokens": 3, "stream": True}
    response = httpx.post(live + "/v1/completions", json=asked)
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["transfer-encoding"] == "chunked"
    assert events(response.text)


def test_a_large_body_is_refused_while_it_is_sent(live: str) -> None:
    def parts() -> Any:
        for _ in range(40):
            yield b" " * 2**20

    response = httpx.post(live + "/v1/completions", content=parts())
    assert response.status_code == 413
