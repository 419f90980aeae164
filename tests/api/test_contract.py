"""The contract, line by line, as far as it holds for every backend."""

import math
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.engine import Served
from tests.api.sending import PATH, Json, joined, post
from tests.api.sending import events as events_of

PROMPT = "once upon a time"


@pytest.fixture
def ask(served: Served, client: TestClient) -> Any:
    def ask(**body: Any) -> Any:
        return post(client, **{"model": served.name, "prompt": PROMPT, "max_tokens": 6} | body)

    return ask


def test_the_shape_of_an_answer(served: Served, ask: Any) -> None:
    response = ask()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert set(answer) == {
        *("id", "object", "created", "model", "system_fingerprint", "choices", "usage")
    }
    assert answer["id"].startswith("cmpl-") and answer["object"] == "text_completion"
    assert answer["model"] == served.name
    assert answer["system_fingerprint"] == ask().json()["system_fingerprint"] != ""
    assert ask().json()["id"] != answer["id"]
    [choice] = answer["choices"]
    assert set(choice) == {"index", "text", "logprobs", "finish_reason", "stop_reason"}
    assert choice["logprobs"] is None and choice["finish_reason"] in ("stop", "length")


def test_usage_adds_up(served: Served, ask: Any) -> None:
    usage = ask(n=2).json()["usage"]
    assert usage["prompt_tokens"] == len(served.tokenizer.encode(PROMPT))
    assert 2 <= usage["completion_tokens"] <= 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] <= usage["prompt_tokens"]


def test_both_paths_answer_alike(served: Served, client: TestClient, ask: Any) -> None:
    openai, short = ask().json(), ask(path="/v1/completions").json()
    assert openai["choices"] == short["choices"]
    assert client.get("/v1/models").json() == client.get("/v1/openai/models").json()


def test_events(ask: Any) -> None:
    response = ask(stream=True, n=2)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_of(response.text)
    assert len({(e["id"], e["created"], e["object"], e["model"]) for e in events}) == 1
    assert events[0]["object"] == "text_completion"
    assert all(len(e["choices"]) == 1 for e in events)
    ends = [e["choices"][0]["index"] for e in events if e["choices"][0]["finish_reason"]]
    assert sorted(ends) == [0, 1]
    assert ["usage" in e for e in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["choices"][0]["finish_reason"]


@pytest.mark.parametrize("include", [True, False, None])
@pytest.mark.parametrize("continuous", [True, False, None])
def test_usage_rides_where_it_is_asked_for(
    ask: Any, include: bool | None, continuous: bool | None
) -> None:
    given = {"include_usage": include, "continuous_usage_stats": continuous}
    options = {name: value for name, value in given.items() if value is not None}
    events = events_of(ask(stream=True, stream_options=options).text)
    expected = [bool(continuous)] * (len(events) - 1) + [include is not False or bool(continuous)]
    assert ["usage" in e for e in events] == expected
    counts = [e["usage"]["completion_tokens"] for e in events if "usage" in e]
    assert counts == sorted(counts)


PARAMS: list[Json] = [
    {},
    {"n": 3, "seed": 3, "temperature": 1},
    {"echo": True},
    {"logprobs": 0},
    {"logprobs": 3, "echo": True, "n": 2},
    {"logprobs": 2, "return_tokens_as_token_ids": True},
    {"stop": ["e", " t"]},
    {"max_tokens": 1},
    {"prompt": [PROMPT, "a", PROMPT], "n": 2, "echo": True, "logprobs": 1},
    {"prompt": [5, 6, 7]},
    {"prompt": [[5, 6], [7]], "logprobs": 5},
]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_a_stream_says_what_the_whole_says(ask: Any, params: Json) -> None:
    whole, events = ask(**params).json(), events_of(ask(**params, stream=True).text)
    parts = joined(events)
    assert parts["choices"] == whole["choices"]
    for usage in parts["usage"], whole["usage"]:
        del usage["prompt_tokens_details"]
    assert parts["usage"] == whole["usage"]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_rows_of_logprobs(ask: Any, params: Json) -> None:
    for choice in ask(**{"logprobs": 2} | params).json()["choices"]:
        rows = choice["logprobs"]
        lengths = {len(column) for column in rows.values()}
        assert len(lengths) == 1 and lengths != {0}
        offsets = rows["text_offset"]
        assert offsets == sorted(offsets) and 0 <= offsets[0] and offsets[-1] <= len(choice["text"])
        start = 1 if params.get("echo") else 0
        assert rows["token_logprobs"][:start] == rows["top_logprobs"][:start] == [None] * start
        asked = params.get("logprobs", 2)
        for token, value, top in list(
            zip(rows["tokens"], rows["token_logprobs"], rows["top_logprobs"], strict=True)
        )[start:]:
            assert value <= 0 and math.isfinite(value) and top[token] == value
            assert max(asked, 1) <= len(top) <= asked + 1


def test_echo_puts_the_prompt_first(ask: Any) -> None:
    alone = ask(temperature=0).json()["choices"][0]["text"]
    assert ask(temperature=0, echo=True).json()["choices"][0]["text"] == PROMPT + alone
    events = events_of(ask(temperature=0, echo=True, stream=True, n=2).text)
    first = {e["choices"][0]["index"]: e["choices"][0]["text"] for e in reversed(events)}
    assert first == {0: PROMPT, 1: PROMPT}


def test_every_prompt_is_answered_as_it_is_alone(served: Served, ask: Any) -> None:
    ids = served.tokenizer.encode(PROMPT)
    alone = [c["text"] for c in ask(n=2, seed=7, temperature=1).json()["choices"]]
    for prompt in [PROMPT, "x"], [ids, [5]]:
        answer = ask(prompt=prompt, n=2, seed=7, temperature=1).json()
        assert [c["index"] for c in answer["choices"]] == [0, 1, 2, 3]
        assert [c["text"] for c in answer["choices"]][:2] == alone
    assert [
        c["text"] for c in ask(prompt=ids, n=2, seed=7, temperature=1).json()["choices"]
    ] == alone


def test_a_long_explicit_limit_is_limited_by_the_context(served: Served, ask: Any) -> None:
    """There is room for two tokens, and every model here goes on greedily after so many fives."""
    for max_tokens in 1_000_000, None:
        answer = ask(prompt=[5] * (served.context - 2), max_tokens=max_tokens, temperature=0).json()
        assert answer["usage"]["total_tokens"] == served.context
        assert answer["choices"][0]["finish_reason"] == "length"


def test_a_text_far_longer_than_the_context_is_not_tokenised(
    served: Served, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some megabytes of it would keep a thread busy for seconds, and a few such requests all."""

    def encode(text: str) -> list[int]:
        raise AssertionError("a text was tokenised")

    monkeypatch.setattr(served.tokenizer, "encode", encode)
    for prompt in "once upon a time " * 2**18, ["é" * 2**20]:
        response = ask(prompt=prompt)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"


def test_a_prompt_longer_than_the_context(served: Served, ask: Any) -> None:
    for stream in False, True:
        response = ask(prompt=[5] * served.context, stream=stream)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")
        assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert ask(prompt=[5] * (served.context - 1)).status_code == 200


def test_a_model_that_is_not_served(ask: Any) -> None:
    error = ask(model="another").json()["error"]
    assert ask(model="another").status_code == 404
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize("data", [{}, {"image": []}, None])
def test_no_images_are_fine(ask: Any, data: Json | None) -> None:
    assert ask(data=data).status_code == 200


def test_images_on_a_text_model(ask: Any) -> None:
    response = ask(data={"image": ["data:image/png;base64,iVBORw0KGgo="]}, stream=True)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "text_only_model"


def test_models(served: Served, client: TestClient) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    [model] = listed["data"]
    assert (model["id"], model["object"], model["created"]) == (
        served.name,
        "model",
        served.created,
    )
    assert client.get(f"/v1/models/{served.name}").json() == model
    assert client.get("/v1/openai/models/no/such/model").status_code == 404
    assert "error" in client.get("/v1/models/no").json()


def test_methods_and_paths(client: TestClient) -> None:
    assert client.get(PATH).status_code == 405
    assert client.get(PATH).json() == {"detail": "Method Not Allowed"}
    assert client.get(PATH).headers["allow"] == "POST"
    for path in "/", "/v1", PATH + "/", "/v1/chat/completions":
        assert client.post(path).status_code == 404
        assert client.post(path).json() == {"detail": "Not Found"}


def test_health(client: TestClient, served: Served) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "models": {served.name: "ok"}}
