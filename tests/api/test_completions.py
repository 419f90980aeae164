"""Completions of the toy model, worked out by hand."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.app import create_app
from reference.params import DEFAULT_MAX_TOKENS
from tests.api.http_client import choice, choices, complete, join_events, post, stream
from tests.api.toy import BYTES, CONTEXT, VOCABULARY, ToyEngine, toy_model


def test_greedy_completion(toy_client: TestClient) -> None:
    completion = complete(toy_client)
    assert completion["choices"] == [
        {"index": 0, "text": "xyz", "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    ]
    usage = {k: v for k, v in completion["usage"].items() if k != "prompt_tokens_details"}
    assert usage == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


def test_partial_and_invalid_utf8(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt="0")["text"] == "€ yesa\ufffd!"
    texts = [e["choices"][0]["text"] for e in stream(toy_client, prompt="0")]
    assert texts == ["€", " yes", "a", "\ufffd", "!", ""]


def test_incomplete_character_is_replaced(toy_client: TestClient) -> None:
    cut = choice(toy_client, prompt="0", max_tokens=2)
    assert (cut["text"], cut["finish_reason"]) == ("\ufffd", "length")


def test_max_tokens(toy_client: TestClient) -> None:
    for count, text, reason in (1, "x", "length"), (3, "xyz", "length"), (4, "xyz", "stop"):
        completion = complete(toy_client, max_tokens=count)
        [result] = completion["choices"]
        assert (result["text"], result["finish_reason"]) == (text, reason)
        assert completion["usage"]["completion_tokens"] == count


def test_context_limits_output(toy_client: TestClient) -> None:
    assert DEFAULT_MAX_TOKENS > CONTEXT
    for max_tokens in None, 1_000_000:
        [result] = choices(toy_client, prompt="~", max_tokens=max_tokens)
        assert (result["text"], result["finish_reason"]) == ("~" * (CONTEXT - 2), "length")


def test_choices_of_several_prompts(toy_client: TestClient) -> None:
    """Seed 1: the strides of choices 0, 1, 2 are 2, 3, 1, in every prompt."""
    completion = complete(toy_client, prompt=["s", "u"], n=3, seed=1, temperature=1)
    assert [(c["index"], c["text"]) for c in completion["choices"]] == [
        *((0, "uwy"), (1, "vy"), (2, "tuvwxyz")),
        *((3, "wy"), (4, "x"), (5, "vwxyz")),
    ]
    assert completion["usage"]["prompt_tokens"] == 4
    assert completion["usage"]["completion_tokens"] == 4 + 3 + 8 + 3 + 2 + 6


@pytest.mark.parametrize("prompt", ["w", [0, 24], ["w"], [[0, 24]]])
def test_prompt_forms(toy_client: TestClient, prompt: object) -> None:
    assert choice(toy_client, prompt=prompt)["text"] == "xyz"


def test_token_ids_are_used_verbatim(toy_client: TestClient) -> None:
    completion = complete(toy_client, prompt=[24])
    assert (completion["choices"][0]["text"], completion["usage"]["prompt_tokens"]) == ("xyz", 1)


def test_unseeded_prompts_draw_different_seeds() -> None:
    served = toy_model()
    client = TestClient(create_app([served]))
    complete(client, prompt=["a", "a", "a"], temperature=1)
    complete(client, prompt=["a", "a"], seed=5)
    *drawn, first, second = (request.seed for request in served.engine.requests)  # type: ignore[attr-defined]
    assert len(set(drawn)) == 3
    assert first == second == 5
    served.engine.close()


def test_stop_string_across_tokens(toy_client: TestClient) -> None:
    completion = complete(toy_client, prompt="a", stop=["zz", "ef"])
    [result] = completion["choices"]
    assert (result["text"], result["finish_reason"], result["stop_reason"]) == ("bcd", "stop", "ef")
    assert completion["usage"]["completion_tokens"] == 5
    texts = [e["choices"][0]["text"] for e in stream(toy_client, prompt="a", stop=["zz", "ef"])]
    assert texts == ["b", "c", "d", ""]


def test_withheld_text_is_sent_when_stop_does_not_match(
    toy_client: TestClient,
) -> None:
    texts = [e["choices"][0]["text"] for e in stream(toy_client, prompt="v", stop=["wxyQ", "z!"])]
    assert texts == ["wxy", "z"]


def test_stop_string_in_the_prompt_is_ignored(toy_client: TestClient) -> None:
    assert choice(toy_client, stop="w", echo=True)["text"] == "wxyz"


def test_stop_string_inside_a_token(toy_client: TestClient) -> None:
    result = choice(toy_client, prompt="0", stop=["es"])
    assert (result["text"], result["stop_reason"]) == ("€ y", "es")


def test_stop_string_on_the_last_token(toy_client: TestClient) -> None:
    result = choice(toy_client, max_tokens=2, stop="y")
    assert (result["text"], result["finish_reason"], result["stop_reason"]) == ("x", "stop", "y")


def test_stop_token_ids(toy_client: TestClient) -> None:
    completion = complete(toy_client, stop_token_ids=[26, 27], logprobs=0)
    [result] = completion["choices"]
    assert (result["text"], result["finish_reason"], result["stop_reason"]) == ("x", "stop", 26)
    assert completion["usage"]["completion_tokens"] == 2
    assert result["logprobs"]["tokens"] == ["x", "y"]


def test_logprobs(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt="x", logprobs=2)["logprobs"] == {
        "tokens": ["y", "z", "</s>"],
        "token_logprobs": [-0.25, -0.25, -0.25],
        "top_logprobs": [{t: -0.25, "a": -0.5} for t in ("y", "z", "</s>")],
        "text_offset": [0, 1, 2],
    }


def test_logprobs_zero_reports_the_sampled_token(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt="y", logprobs=0)["logprobs"]["top_logprobs"] == [
        {"z": -0.25},
        {"</s>": -0.25},
    ]


def test_negative_infinity_is_sent_as_a_number(toy_client: TestClient) -> None:
    tops = choice(toy_client, prompt="y", logprobs=6)["logprobs"]["top_logprobs"]
    assert list(tops[0].values()) == [-0.25, -0.5, -1.0, -1.5, -9999.0, -9999.0]


def test_tokens_with_equal_text_are_distinguished(toy_client: TestClient) -> None:
    """Token 33 is a second `a`; as the sampled token it keeps the name."""
    entries = choice(toy_client, prompt=[32], logprobs=3, max_tokens=1)["logprobs"]
    assert entries["tokens"] == ["a"]
    assert entries["top_logprobs"] == [{"a": -0.25, "token_id:2": -0.5, "b": -1.0}]


def test_return_tokens_as_token_ids(toy_client: TestClient) -> None:
    entries = choice(toy_client, prompt=[32], logprobs=2, return_tokens_as_token_ids=True)[
        "logprobs"
    ]
    assert entries["tokens"] == ["token_id:33", "token_id:34", "token_id:35", "token_id:1"]
    assert entries["top_logprobs"][0] == {"token_id:33": -0.25, "token_id:2": -0.5}
    assert entries["text_offset"] == [0, 1, 2, 3]


def test_echo_with_logprobs(toy_client: TestClient) -> None:
    """Evaluation harnesses use this to score a prompt."""
    result = choice(toy_client, prompt="uw", echo=True, logprobs=1, max_tokens=1)
    assert result["text"] == "uwx"
    assert result["logprobs"] == {
        "tokens": ["<s>", "u", "w", "x"],
        "token_logprobs": [None, -0.25, -0.25, -0.25],
        "top_logprobs": [None, {"u": -0.25}, {"w": -0.25}, {"x": -0.25}],
        "text_offset": [0, 0, 1, 2],
    }


def test_echo_of_token_ids(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt=[0, 24], echo=True)["text"] == "wxyz"
    assert choice(toy_client, prompt=[BYTES + 0xFF, 24], echo=True)["text"] == "\ufffdwxyz"


def test_stream_event_order(toy_client: TestClient) -> None:
    """With echo the prompt comes first, once per choice; then the choices alternate."""
    events = stream(toy_client, prompt="x", n=2, echo=True, logprobs=0, max_tokens=2)
    summary = [
        (c["index"], c["text"], c["logprobs"]["tokens"], c["finish_reason"])
        for e in events
        for c in e["choices"]
    ]
    assert summary == [
        *((0, "x", ["<s>", "x"], None), (1, "x", ["<s>", "x"], None)),
        *((0, "y", ["y"], None), (1, "y", ["y"], None)),
        *((0, "z", ["z"], "length"), (1, "z", ["z"], "length")),
    ]


def test_empty_events_are_not_sent(toy_client: TestClient) -> None:
    events = stream(toy_client, prompt="~", max_tokens=5, stop=["~~~~~~"], temperature=0)
    assert [e["choices"][0]["text"] for e in events] == ["~~~~~"]
    assert events[0]["usage"]["completion_tokens"] == 5


def test_continuous_usage(toy_client: TestClient) -> None:
    options = {"continuous_usage_stats": True}
    events = stream(toy_client, echo=True, stream_options=options)
    counts = [(e["choices"][0]["text"], e["usage"]["completion_tokens"]) for e in events]
    assert counts == [("w", 0), ("x", 1), ("y", 2), ("z", 3), ("", 4)]
    assert [e["usage"]["total_tokens"] for e in events] == [2, 3, 4, 5, 6]


def test_cached_tokens_are_summed_over_prompts_per_key() -> None:
    served = toy_model()
    client = TestClient(create_app([served], keys=["a", "b"]))

    def cached(key: str, **body: object) -> int:
        response = post(client, headers={"xi-api-key": key}, **body)
        return int(response.json()["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert cached("a", prompt="abcdef") == 0
    assert cached("a", prompt="abcdef") == 4
    assert cached("a", prompt=["abcdef", "abcdeg"], n=2) == 8
    assert cached("a", prompt="abcdef", prompt_cache_key="k") == 0
    assert cached("b", prompt="abcdef") == 0
    principals = {r.principal for r in served.engine.requests}  # type: ignore[attr-defined]
    assert len(principals) == 2 and not principals & {"a", "b", ""}
    served.engine.close()


def test_token_beyond_the_tokenizer_has_no_text(toy_client: TestClient) -> None:
    result = choice(toy_client, prompt=[VOCABULARY - 1, 24], echo=True, logprobs=0)
    assert result["text"] == "wxyz"
    assert result["logprobs"]["tokens"][:2] == [f"token_id:{VOCABULARY - 1}", "w"]
    assert result["logprobs"]["text_offset"] == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("fail_after", [None, 1, 3])
@pytest.mark.parametrize("streamed", [False, True])
def test_user_is_neither_logged_nor_sent(
    caplog: pytest.LogCaptureFixture, fail_after: int | None, streamed: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    served = toy_model(ToyEngine(fail_after=fail_after))
    response = post(TestClient(create_app([served])), user="jane-doe-7", stream=streamed)
    served.engine.close()
    assert response.text and "jane-doe-7" not in response.text
    assert "jane-doe-7" not in str(response.headers)
    assert "jane-doe-7" not in caplog.text


STOPS = st.lists(st.text("abcxyz€ !e~", min_size=1, max_size=3), max_size=4)
PROMPTS = st.one_of(
    st.text("awx0~é", max_size=4),
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=4),
    st.lists(st.text("a0", max_size=2), min_size=1, max_size=3),
)


@given(
    prompt=PROMPTS,
    stop=STOPS,
    stop_token_ids=st.lists(st.integers(0, VOCABULARY - 1), max_size=2),
    n=st.integers(1, 4),
    seed=st.integers(0, 5),
    temperature=st.sampled_from([0, 1]),
    max_tokens=st.integers(1, 12),
    logprobs=st.none() | st.integers(0, 4),
    echo=st.booleans(),
    return_tokens_as_token_ids=st.booleans(),
)
def test_stream_equals_whole_response(toy_client: TestClient, **params: object) -> None:
    whole, events = complete(toy_client, **params), stream(toy_client, **params)
    parts = join_events(events)
    assert parts["choices"] == whole["choices"]
    for usage in parts["usage"], whole["usage"]:
        del usage["prompt_tokens_details"]
    assert parts["usage"] == whole["usage"]
    for event in events:
        [c] = event["choices"]
        assert c["text"] or c["finish_reason"] or (c["logprobs"] and c["logprobs"]["tokens"])
