"""The API contract, as far as it does not depend on the backend."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api import sse
from api.engine import ServedModel
from api.sse import event_pieces
from tests.api.http_client import PATH, Json, join_events, parse_events, post

PROMPT = "once upon a time"


SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # and \r, \n: the line breaks of str.splitlines


@pytest.fixture
def complete(served: ServedModel, client: TestClient) -> Any:
    def complete(**body: Any) -> Any:
        return post(client, **{"model": served.name, "prompt": PROMPT, "max_tokens": 6} | body)

    return complete


def test_response_fields(served: ServedModel, complete: Any) -> None:
    response = complete()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    completion = response.json()
    assert set(completion) == {
        *("id", "object", "created", "model", "system_fingerprint", "choices", "usage")
    }
    assert completion["id"].startswith("cmpl-") and completion["object"] == "text_completion"
    assert completion["model"] == served.name
    assert completion["system_fingerprint"] == complete().json()["system_fingerprint"] != ""
    assert complete().json()["id"] != completion["id"]
    [choice] = completion["choices"]
    assert set(choice) == {"index", "text", "logprobs", "finish_reason", "stop_reason"}
    assert choice["logprobs"] is None and choice["finish_reason"] in ("stop", "length")


def test_usage_totals(served: ServedModel, complete: Any) -> None:
    usage = complete(n=2).json()["usage"]
    assert usage["prompt_tokens"] == len(served.tokenizer.encode(PROMPT))
    assert 2 <= usage["completion_tokens"] <= 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] <= usage["prompt_tokens"]


def test_path_prefixes_are_equivalent(
    served: ServedModel, client: TestClient, complete: Any
) -> None:
    openai, short = complete().json(), complete(path="/v1/completions").json()
    assert openai["choices"] == short["choices"]
    assert client.get("/v1/models").json() == client.get("/v1/openai/models").json()


def test_stream_events(complete: Any) -> None:
    response = complete(stream=True, n=2)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = parse_events(response.text)
    assert len({(e["id"], e["created"], e["object"], e["model"]) for e in events}) == 1
    assert events[0]["object"] == "text_completion"
    assert all(len(e["choices"]) == 1 for e in events)
    ends = [e["choices"][0]["index"] for e in events if e["choices"][0]["finish_reason"]]
    assert sorted(ends) == [0, 1]
    assert ["usage" in e for e in events] == [False] * (len(events) - 1) + [True]
    assert events[-1]["choices"][0]["finish_reason"]


@pytest.mark.parametrize("include", [True, False, None])
@pytest.mark.parametrize("continuous", [True, False, None])
def test_stream_options_select_usage(
    complete: Any, include: bool | None, continuous: bool | None
) -> None:
    sent = {"include_usage": include, "continuous_usage_stats": continuous}
    options = {name: value for name, value in sent.items() if value is not None}
    events = parse_events(complete(stream=True, stream_options=options).text)
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
def test_stream_equals_whole_response(complete: Any, params: Json) -> None:
    whole, events = complete(**params).json(), parse_events(complete(**params, stream=True).text)
    parts = join_events(events)
    assert parts["choices"] == whole["choices"]
    for usage in parts["usage"], whole["usage"]:
        del usage["prompt_tokens_details"]
    assert parts["usage"] == whole["usage"]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_logprobs_entries(complete: Any, params: Json) -> None:
    for choice in complete(**{"logprobs": 2} | params).json()["choices"]:
        entries = choice["logprobs"]
        lengths = {len(column) for column in entries.values()}
        assert len(lengths) == 1 and lengths != {0}
        offsets = entries["text_offset"]
        assert offsets == sorted(offsets) and 0 <= offsets[0] and offsets[-1] <= len(choice["text"])
        start = 1 if params.get("echo") else 0
        assert (
            entries["token_logprobs"][:start] == entries["top_logprobs"][:start] == [None] * start
        )
        requested = params.get("logprobs", 2)
        for token, value, top in list(
            zip(entries["tokens"], entries["token_logprobs"], entries["top_logprobs"], strict=True)
        )[start:]:
            assert value <= 0 and math.isfinite(value) and top[token] == value
            assert max(requested, 1) <= len(top) <= requested + 1


def test_echo_puts_the_prompt_first(complete: Any) -> None:
    plain = complete(temperature=0).json()["choices"][0]["text"]
    assert complete(temperature=0, echo=True).json()["choices"][0]["text"] == PROMPT + plain
    events = parse_events(complete(temperature=0, echo=True, stream=True, n=2).text)
    first = {e["choices"][0]["index"]: e["choices"][0]["text"] for e in reversed(events)}
    assert first == {0: PROMPT, 1: PROMPT}


def test_prompt_lists_do_not_change_outputs(served: ServedModel, complete: Any) -> None:
    ids = served.tokenizer.encode(PROMPT)
    expected = [c["text"] for c in complete(n=2, seed=7, temperature=1).json()["choices"]]
    for prompt in [PROMPT, "x"], [ids, [5]]:
        completion = complete(prompt=prompt, n=2, seed=7, temperature=1).json()
        assert [c["index"] for c in completion["choices"]] == [0, 1, 2, 3]
        assert [c["text"] for c in completion["choices"]][:2] == expected
    assert [
        c["text"] for c in complete(prompt=ids, n=2, seed=7, temperature=1).json()["choices"]
    ] == expected


def test_max_tokens_is_clamped_to_the_context(served: ServedModel, complete: Any) -> None:
    """The prompt leaves room for two tokens, and no tested model ends its output within them."""
    for max_tokens in 1_000_000, None:
        completion = complete(
            prompt=[5] * (served.context - 2), max_tokens=max_tokens, temperature=0
        ).json()
        assert completion["usage"]["total_tokens"] == served.context
        assert completion["choices"][0]["finish_reason"] == "length"


def test_oversized_text_is_refused_before_tokenization(
    served: ServedModel, complete: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokenizing megabytes takes seconds; a few such requests would occupy every thread."""

    def encode(text: str) -> list[int]:
        raise AssertionError("a text was tokenized")

    monkeypatch.setattr(served.tokenizer, "encode", encode)
    for prompt in "once upon a time " * 2**18, ["é" * 2**20]:
        response = complete(prompt=prompt)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"


def test_prompt_that_fills_the_context_is_refused(served: ServedModel, complete: Any) -> None:
    for stream in False, True:
        response = complete(prompt=[5] * served.context, stream=stream)
        assert response.status_code == 400
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")
        assert set(error) == {"message", "type", "param", "code"} and error["message"]
    assert complete(prompt=[5] * (served.context - 1)).status_code == 200


@given(st.text(st.sampled_from(f'\r\n{SEPARATORS}\\"é a')))
def test_event_is_one_line_for_every_client(text: str) -> None:
    whole = json.dumps({text: text}, ensure_ascii=False).encode()
    for pieces in whole, [whole]:
        data, end = b"".join(event_pieces(pieces)).decode().splitlines()
        assert end == "" and json.loads(data.removeprefix("data: ")) == {text: text}


@given(st.text(st.sampled_from(f"{SEPARATORS}é日😀a"), max_size=40), st.integers(4, 9))
def test_events_are_escaped_in_parts(text: str, part: int) -> None:
    """However large a piece is, a step handles a bounded part of it, and splits no character."""
    json_bytes = json.dumps(text, ensure_ascii=False).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "PART", part)
        start, *parts, end = sse.event_pieces([memoryview(json_bytes)])
    assert (start, end) == (b"data: ", b"\n\n")
    assert all(len(piece) <= 6 * part for piece in parts)
    assert len(parts) >= len(json_bytes) // part
    assert json.loads(b"".join(parts)) == text
    assert len(b"".join(parts).decode().splitlines()) == 1


def test_line_separators_do_not_split_events(complete: Any) -> None:
    prompt = "a".join(SEPARATORS)
    body = {"prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 2}
    response = complete(stream=True, **body)
    assert response.text.splitlines() == response.text.split("\n")[:-1]
    joined = join_events(parse_events(response.text))
    assert joined["choices"] == complete(**body).json()["choices"]
    assert joined["choices"][0]["text"].startswith(prompt)


def test_unknown_model_is_404(complete: Any) -> None:
    error = complete(model="unknown").json()["error"]
    assert complete(model="unknown").status_code == 404
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize("data", [{}, {"image": []}, None])
def test_empty_data_is_accepted(complete: Any, data: Json | None) -> None:
    assert complete(data=data).status_code == 200


def test_text_model_refuses_images(complete: Any) -> None:
    response = complete(data={"image": ["data:image/png;base64,iVBORw0KGgo="]}, stream=True)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "text_only_model"


def test_model_list(served: ServedModel, client: TestClient) -> None:
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


def test_unknown_methods_and_paths(client: TestClient) -> None:
    assert client.get(PATH).status_code == 405
    assert client.get(PATH).json() == {"detail": "Method Not Allowed"}
    assert client.get(PATH).headers["allow"] == "POST"
    for path in "/", "/v1", PATH + "/", "/v1/chat/completions":
        assert client.post(path).status_code == 404
        assert client.post(path).json() == {"detail": "Not Found"}


def test_health(client: TestClient, served: ServedModel) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "models": {served.name: "ok"}}
