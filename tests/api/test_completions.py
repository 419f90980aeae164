"""Answers of the toy, worked out by hand."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.app import create_app
from reference.params import DEFAULT_MAX_TOKENS
from tests.api.sending import Json, ask, choice, choices, joined, post, stream
from tests.api.toy import BYTES, CONTEXT, VOCABULARY, ToyEngine, ToyTokenizer, toy


def test_greedy(toy_client: TestClient) -> None:
    answer = ask(toy_client)
    assert answer["choices"] == [
        {"index": 0, "text": "xyz", "logprobs": None, "finish_reason": "stop", "stop_reason": None}
    ]
    usage = {k: v for k, v in answer["usage"].items() if k != "prompt_tokens_details"}
    assert usage == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


def test_hard_tokens(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt="0")["text"] == "€ yesa\ufffd!"
    texts = [e["choices"][0]["text"] for e in stream(toy_client, prompt="0")]
    assert texts == ["€", " yes", "a", "\ufffd", "!", ""]


def test_a_character_that_never_ends(toy_client: TestClient) -> None:
    cut = choice(toy_client, prompt="0", max_tokens=2)
    assert (cut["text"], cut["finish_reason"]) == ("\ufffd", "length")


def test_max_tokens(toy_client: TestClient) -> None:
    for count, text, reason in (1, "x", "length"), (3, "xyz", "length"), (4, "xyz", "stop"):
        answer = ask(toy_client, max_tokens=count)
        [found] = answer["choices"]
        assert (found["text"], found["finish_reason"]) == (text, reason)
        assert answer["usage"]["completion_tokens"] == count


def test_the_context_limits(toy_client: TestClient) -> None:
    assert DEFAULT_MAX_TOKENS > CONTEXT
    for max_tokens in None, 1_000_000:
        [found] = choices(toy_client, prompt="~", max_tokens=max_tokens)
        assert (found["text"], found["finish_reason"]) == ("~" * (CONTEXT - 2), "length")


def test_n_and_several_prompts(toy_client: TestClient) -> None:
    """Seed 1: the strides of choices 0, 1, 2 are 2, 3, 1, in every prompt."""
    answer = ask(toy_client, prompt=["s", "u"], n=3, seed=1, temperature=1)
    assert [(c["index"], c["text"]) for c in answer["choices"]] == [
        *((0, "uwy"), (1, "vy"), (2, "tuvwxyz")),
        *((3, "wy"), (4, "x"), (5, "vwxyz")),
    ]
    assert answer["usage"]["prompt_tokens"] == 4
    assert answer["usage"]["completion_tokens"] == 4 + 3 + 8 + 3 + 2 + 6


@pytest.mark.parametrize("prompt", ["w", [0, 24], ["w"], [[0, 24]]])
def test_the_shapes_of_a_prompt(toy_client: TestClient, prompt: object) -> None:
    assert choice(toy_client, prompt=prompt)["text"] == "xyz"


def test_ids_are_taken_as_they_are(toy_client: TestClient) -> None:
    answer = ask(toy_client, prompt=[24])
    assert (answer["choices"][0]["text"], answer["usage"]["prompt_tokens"]) == ("xyz", 1)


def test_without_a_seed_every_prompt_draws_its_own() -> None:
    served = toy()
    client = TestClient(create_app([served]))
    ask(client, prompt=["a", "a", "a"], temperature=1)
    ask(client, prompt=["a", "a"], seed=5)
    *drawn, one, two = (request.seed for request in served.engine.requests)  # type: ignore[attr-defined]
    assert len(set(drawn)) == 3
    assert one == two == 5
    served.engine.close()


def test_stop_strings_across_tokens(toy_client: TestClient) -> None:
    answer = ask(toy_client, prompt="a", stop=["zz", "ef"])
    [found] = answer["choices"]
    assert (found["text"], found["finish_reason"], found["stop_reason"]) == ("bcd", "stop", "ef")
    assert answer["usage"]["completion_tokens"] == 5
    texts = [e["choices"][0]["text"] for e in stream(toy_client, prompt="a", stop=["zz", "ef"])]
    assert texts == ["b", "c", "d", ""]


def test_what_could_become_a_stop_string_is_held_back_and_then_told(
    toy_client: TestClient,
) -> None:
    texts = [e["choices"][0]["text"] for e in stream(toy_client, prompt="v", stop=["wxyQ", "z!"])]
    assert texts == ["wxy", "z"]


def test_a_stop_string_in_the_prompt_stops_nothing(toy_client: TestClient) -> None:
    assert choice(toy_client, stop="w", echo=True)["text"] == "wxyz"


def test_a_stop_string_inside_a_token(toy_client: TestClient) -> None:
    found = choice(toy_client, prompt="0", stop=["es"])
    assert (found["text"], found["stop_reason"]) == ("€ y", "es")


def test_a_stop_string_on_the_last_token(toy_client: TestClient) -> None:
    found = choice(toy_client, max_tokens=2, stop="y")
    assert (found["text"], found["finish_reason"], found["stop_reason"]) == ("x", "stop", "y")


def test_stop_ids(toy_client: TestClient) -> None:
    answer = ask(toy_client, stop_token_ids=[26, 27], logprobs=0)
    [found] = answer["choices"]
    assert (found["text"], found["finish_reason"], found["stop_reason"]) == ("x", "stop", 26)
    assert answer["usage"]["completion_tokens"] == 2
    assert found["logprobs"]["tokens"] == ["x", "y"]


def test_logprobs(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt="x", logprobs=2)["logprobs"] == {
        "tokens": ["y", "z", "</s>"],
        "token_logprobs": [-0.25, -0.25, -0.25],
        "top_logprobs": [{t: -0.25, "a": -0.5} for t in ("y", "z", "</s>")],
        "text_offset": [0, 1, 2],
    }


def test_logprobs_of_only_the_chosen_token(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt="y", logprobs=0)["logprobs"]["top_logprobs"] == [
        {"z": -0.25},
        {"</s>": -0.25},
    ]


def test_minus_infinity_is_a_number(toy_client: TestClient) -> None:
    tops = choice(toy_client, prompt="y", logprobs=6)["logprobs"]["top_logprobs"]
    assert list(tops[0].values()) == [-0.25, -0.5, -1.0, -1.5, -9999.0, -9999.0]


def test_two_tokens_of_one_text(toy_client: TestClient) -> None:
    """Token 33 is a second `a`: it is the one that was drawn, so it keeps the name."""
    rows = choice(toy_client, prompt=[32], logprobs=3, max_tokens=1)["logprobs"]
    assert rows["tokens"] == ["a"]
    assert rows["top_logprobs"] == [{"a": -0.25, "token_id:2": -0.5, "b": -1.0}]


def test_tokens_as_ids(toy_client: TestClient) -> None:
    rows = choice(toy_client, prompt=[32], logprobs=2, return_tokens_as_token_ids=True)["logprobs"]
    assert rows["tokens"] == ["token_id:33", "token_id:34", "token_id:35", "token_id:1"]
    assert rows["top_logprobs"][0] == {"token_id:33": -0.25, "token_id:2": -0.5}
    assert rows["text_offset"] == [0, 1, 2, 3]


def test_echo_with_logprobs(toy_client: TestClient) -> None:
    """What evaluation harnesses send: the prompt's own log-probabilities."""
    found = choice(toy_client, prompt="uw", echo=True, logprobs=1, max_tokens=1)
    assert found["text"] == "uwx"
    assert found["logprobs"] == {
        "tokens": ["<s>", "u", "w", "x"],
        "token_logprobs": [None, -0.25, -0.25, -0.25],
        "top_logprobs": [None, {"u": -0.25}, {"w": -0.25}, {"x": -0.25}],
        "text_offset": [0, 0, 1, 2],
    }


def test_echo_of_ids(toy_client: TestClient) -> None:
    assert choice(toy_client, prompt=[0, 24], echo=True)["text"] == "wxyz"
    assert choice(toy_client, prompt=[BYTES + 0xFF, 24], echo=True)["text"] == "\ufffdwxyz"


def test_the_events_of_a_stream(toy_client: TestClient) -> None:
    """With echo the prompt comes first, once for each choice; the choices take turns."""
    events = stream(toy_client, prompt="x", n=2, echo=True, logprobs=0, max_tokens=2)
    seen = [
        (c["index"], c["text"], c["logprobs"]["tokens"], c["finish_reason"])
        for e in events
        for c in e["choices"]
    ]
    assert seen == [
        *((0, "x", ["<s>", "x"], None), (1, "x", ["<s>", "x"], None)),
        *((0, "y", ["y"], None), (1, "y", ["y"], None)),
        *((0, "z", ["z"], "length"), (1, "z", ["z"], "length")),
    ]


def test_nothing_empty_is_sent(toy_client: TestClient) -> None:
    events = stream(toy_client, prompt="~", max_tokens=5, stop=["~~~~~~"], temperature=0)
    assert [e["choices"][0]["text"] for e in events] == ["~~~~~"]
    assert events[0]["usage"]["completion_tokens"] == 5


def test_running_usage(toy_client: TestClient) -> None:
    options = {"continuous_usage_stats": True}
    events = stream(toy_client, echo=True, stream_options=options)
    counts = [(e["choices"][0]["text"], e["usage"]["completion_tokens"]) for e in events]
    assert counts == [("w", 0), ("x", 1), ("y", 2), ("z", 3), ("", 4)]
    assert [e["usage"]["total_tokens"] for e in events] == [2, 3, 4, 5, 6]


def test_cached_tokens_are_summed_over_prompts_and_keys_are_kept_apart() -> None:
    served = toy()
    client = TestClient(create_app([served], keys=["one", "other"]))

    def cached(key: str, **body: object) -> int:
        response = post(client, headers={"xi-api-key": key}, **body)
        return int(response.json()["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert cached("one", prompt="abcdef") == 0
    assert cached("one", prompt="abcdef") == 4
    assert cached("one", prompt=["abcdef", "abcdeg"], n=2) == 8
    assert cached("one", prompt="abcdef", prompt_cache_key="k") == 0
    assert cached("other", prompt="abcdef") == 0
    principals = {r.principal for r in served.engine.requests}  # type: ignore[attr-defined]
    assert len(principals) == 2 and not principals & {"one", "other", ""}
    served.engine.close()


def test_a_prompt_without_tokens() -> None:
    served = toy(tokenizer=ToyTokenizer(bos_id=None))
    client = TestClient(create_app([served]))
    response = post(client, prompt="")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "empty_prompt")
    assert choice(client, prompt="w")["text"] == "xyz"
    served.engine.close()


def test_a_text_that_leads_to_an_id_which_the_model_lacks() -> None:
    """A token that was added to the tokenizer and not to the model."""

    class Padded(ToyTokenizer):
        vocab_size = VOCABULARY + 1

        def encode(self, text: str) -> list[int]:
            return [VOCABULARY if text == "<pad>" else 24]

    served = toy(tokenizer=Padded())
    client = TestClient(create_app([served]))
    response = post(client, prompt=["w", "<pad>"])
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("unknown_token", "prompt")
    assert str(VOCABULARY) in error["message"]
    assert choice(client, prompt="w")["text"] == "xyz"
    served.engine.close()


def test_ids_beyond_the_tokenizer_have_no_text(toy_client: TestClient) -> None:
    found = choice(toy_client, prompt=[VOCABULARY - 1, 24], echo=True, logprobs=0)
    assert found["text"] == "wxyz"
    assert found["logprobs"]["tokens"][:2] == [f"token_id:{VOCABULARY - 1}", "w"]
    assert found["logprobs"]["text_offset"] == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("fail_after", [None, 1, 3])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_user_is_neither_logged_nor_told(
    caplog: pytest.LogCaptureFixture, fail_after: int | None, streamed: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    served = toy(ToyEngine(fail_after=fail_after))
    response = post(TestClient(create_app([served])), user="Nobody-7", stream=streamed)
    served.engine.close()
    assert response.text and "Nobody-7" not in response.text
    assert "Nobody-7" not in str(response.headers)
    assert "Nobody-7" not in caplog.text


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "json_schema", "json_schema": {"schema": {"multipleOf": 2}, "strict": True}},
        {"type": "json_schema", "json_schema": {"schema": {"enum": []}}},
        {"type": "regex", "regex": "(a"},
        {"type": "regex", "regex": "(a{1000}){1000}"},
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_format_that_cannot_be_honoured_is_a_400(
    toy_client: TestClient, wanted: Json, streamed: bool
) -> None:
    response = post(toy_client, response_format=wanted, stream=streamed)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "unsupported_response_format" and error["param"] == "response_format"


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
def test_a_stream_says_what_the_whole_says(toy_client: TestClient, **params: object) -> None:
    whole, events = ask(toy_client, **params), stream(toy_client, **params)
    parts = joined(events)
    assert parts["choices"] == whole["choices"]
    for usage in parts["usage"], whole["usage"]:
        del usage["prompt_tokens_details"]
    assert parts["usage"] == whole["usage"]
    for event in events:
        [c] = event["choices"]
        assert c["text"] or c["finish_reason"] or (c["logprobs"] and c["logprobs"]["tokens"])
