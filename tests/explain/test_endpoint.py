"""`POST /v1/explain`: the numbers of each token, the completion, and forced tokens."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.engine import ServedModel
from reference import sampler, threefry
from reference.bundle import Bundle
from reference.logits import probabilities
from reference.params import CompletionParams
from tests.api.http_client import Json, join_events, parse_events
from tests.explain.conftest import BODY, events, explained_app, of_kind, post, tokens

COLOR = {"type": "regex", "regex": "red|blue"}


def decoded(event: Json, name: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(event[name]), dtype)


def check_token(event: Json, prompt: list[int], output: list[int], params: CompletionParams) -> int:
    """Assert that every number of an event is the reference's. Return the token of the draw."""
    x = decoded(event, "logits", "<f4")
    size = len(x)
    history = sampler.SamplingHistory(
        params=params,
        allowed=np.unpackbits(decoded(event, "allowed", "u1"), bitorder="little")[:size] > 0,
        present=np.isin(np.arange(size), [*prompt, *output]),
        counts=np.bincount(output, minlength=size),
    )
    traced = [("model", x), *sampler.trace(x, history)]
    rows = [row["id"] for row in event["rows"]]
    for (_, logits), stage in zip(traced, event["stages"], strict=True):
        p = probabilities(logits)
        assert stage["p"] == pytest.approx(p[rows].tolist())
        assert stage["others"] == pytest.approx(1 - p[rows].sum(), abs=1e-9)
        assert stage["kept"] == np.isfinite(logits).sum()
        finite = [None if v == -np.inf else v for v in logits[rows].tolist()]
        assert stage["logits"] == finite
    last = traced[-1][1]
    noise = threefry.noise(int(params.seed or 0), event["choice"], event["position"], size)
    order = np.argsort(-(last + noise), kind="stable")
    drawn = [row["id"] for row in event["draw"]]
    assert drawn == [i for i in order[: len(drawn)] if np.isfinite(last[i])]
    for row in event["draw"]:
        i = row["id"]
        assert (row["logit"], row["noise"]) == (last[i], noise[i])
        assert row["score"] == np.float32(last[i] + noise[i])
    for i, removal in zip(rows, event["removed"], strict=True):
        assert (removal is None) == bool(np.isfinite(last[i]))
    return drawn[0]


PARAMS = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**64 - 1)},
    optional={
        "temperature": st.sampled_from([0, 0.4, 1, 1.7]),
        "top_p": st.sampled_from([0, 0.5, 0.95]),
        "top_k": st.integers(0, 40),
        "min_p": st.sampled_from([0, 0.02, 1]),
        "repetition_penalty": st.sampled_from([0.3, 1.4]),
        "frequency_penalty": st.sampled_from([-2, 1.5]),
        "presence_penalty": st.sampled_from([-1, 2]),
        "response_format": st.just(COLOR),
        "n": st.integers(1, 3),
    },
)


@settings(max_examples=25)
@given(PARAMS)
def test_numbers_are_those_of_the_reference(client: TestClient, params: dict[str, Any]) -> None:
    received = events(client, **params, top=5, logits=True)
    [start] = of_kind(received, "explain.start")
    assert start["seed"] == str(params["seed"])
    prompt = [token["id"] for token in start["prompt"]]
    outputs: dict[int, list[int]] = {}
    for event in of_kind(received, "explain.token"):
        output = outputs.setdefault(event["choice"], [])
        assert event["position"] == len(output)
        drawn = check_token(event, prompt, output, CompletionParams(**params))
        assert event["id"] == drawn and not event["forced"]
        output.append(drawn)
    assert len(outputs) == params.get("n", 1)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"n": 2, "temperature": 1.5},
        {"echo": True, "logprobs": 2},
        {"stop": ["."], "max_tokens": 40},
        {"response_format": COLOR},
        {"stream_options": {"continuous_usage_stats": True}},
        {"prompt": [1, 50, 60], "return_tokens_as_token_ids": True, "logprobs": 1},
    ],
    ids=str,
)
def test_completion_events_are_those_of_completions(client: TestClient, body: Json) -> None:
    plain = post(client, path="/v1/completions", **body, stream=True)
    expected = join_events(parse_events(plain.text))
    received = events(client, **body)
    assert join_events(of_kind(received, "text_completion")) == expected
    assert received[0]["object"] == "explain.start"
    kinds = [event["object"] for event in received]
    for before, kind in zip(kinds, kinds[1:], strict=False):
        assert kind != "text_completion" or before != "explain.start"
    assert len(of_kind(received, "explain.token")) == expected["usage"]["completion_tokens"]


def test_seed_that_was_not_sent_repeats_the_response(client: TestClient) -> None:
    first = events(client, seed=None, temperature=2)
    second = events(client, seed=int(first[0]["seed"]), temperature=2)
    assert of_kind(first, "explain.token") == of_kind(second, "explain.token")
    others = {events(client, seed=None, temperature=2)[0]["seed"] for _ in range(3)}
    assert len(others | {first[0]["seed"]}) == 4


def test_forced_tokens_begin_each_choice(client: TestClient, model: Bundle) -> None:
    """The forced tokens count in penalties; the draw goes on with the noise of its position."""
    lamp = model.tokenizer.encode(" lamp", add_bos=False)[-1]
    forced = [lamp, lamp]
    received = events(client, forced=forced, n=2, frequency_penalty=1.5, logits=True)
    prompt = [token["id"] for token in received[0]["prompt"]]
    params = CompletionParams(seed=7, n=2, frequency_penalty=1.5)
    for choice in range(2):
        explained = [e for e in of_kind(received, "explain.token") if e["choice"] == choice]
        assert [e["id"] for e in explained[:2]] == forced
        assert [e["forced"] for e in explained] == [True, True, False, False]
        output: list[int] = []
        for event in explained:
            drawn = check_token(event, prompt, output, params)
            assert event["forced"] or event["id"] == drawn
            output.append(event["id"])
    text = join_events(of_kind(received, "text_completion"))["choices"][0]["text"]
    assert text.startswith(" lamp lamp")


def test_forced_tokens_of_a_completion_repeat_it(client: TestClient) -> None:
    drawn = tokens(client, max_tokens=8)
    again = tokens(client, max_tokens=8, forced=[e["id"] for e in drawn[:5]])
    assert [e["id"] for e in again] == [e["id"] for e in drawn]
    assert [e["draw"] for e in again] == [e["draw"] for e in drawn]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"forced": [0]}, "token 0 is not allowed at position 0"),
        ({"forced": [5] * 5}, "at most max_tokens = 4 items, got 5"),
        ({"forced": [2, 5]}, "token 2 at position 0 ends the output"),
        ({"forced": [5, 6], "stop_token_ids": [5]}, "token 5 at position 0 ends the output"),
        ({"forced": [5], "response_format": COLOR}, "token 5 is not allowed at position 0"),
        ({"forced": [2], "response_format": COLOR}, "token 2 is not allowed at position 0"),
    ],
)
def test_invalid_forced_tokens_are_refused(client: TestClient, body: Json, message: str) -> None:
    response = post(client, **body)
    error = response.json()["error"]
    assert response.status_code == 400 and error["param"] == "forced"
    assert error["code"] == "invalid_forced_token" and message in error["message"]


def test_grammar_masks_are_reported(client: TestClient) -> None:
    """Most of the model's top tokens are not allowed at the beginning of a color."""
    first = tokens(client, response_format=COLOR, logits=True)[0]
    names = [stage["name"] for stage in first["stages"]]
    assert names[:2] == ["model", "response_format"]
    removed = [r for r in first["removed"] if r and r["step"] == "response_format"]
    assert len(removed) >= 5 and removed[0]["text"] == "not allowed"
    assert tokens(client)[0]["stages"][1]["name"] == "allowed"


def test_top_bounds_the_rows(client: TestClient) -> None:
    for top in 1, 3, 50:
        for event in tokens(client, top=top, temperature=2, frequency_penalty=-2):
            rows = [row["id"] for row in event["rows"]]
            assert top <= len(rows) <= 2 * top + 3 and len(set(rows)) == len(rows)
            assert event["id"] in rows
            assert {row["id"] for row in event["draw"][:2]} <= set(rows)
            assert "logits" not in event and BODY["max_tokens"] == 4


@pytest.mark.lane
def test_other_backend_is_explained_by_the_reference(
    jax_served: ServedModel, model: Bundle
) -> None:
    """The JAX engine serves the completions; it is not used to explain them."""
    client = TestClient(explained_app(jax_served))
    before = jax_served.engine.stats().prefix_cache_queries
    received = events(client, temperature=1.3, logits=True)
    assert jax_served.engine.stats().prefix_cache_queries == before
    prompt = [token["id"] for token in received[0]["prompt"]]
    params, output = CompletionParams(seed=7, temperature=1.3), list[int]()
    for event in of_kind(received, "explain.token"):
        output.append(check_token(event, prompt, output, params))
    plain = post(client, path="/v1/completions", temperature=1.3).json()
    explained = join_events(of_kind(received, "text_completion"))
    assert explained["choices"][0]["text"] == plain["choices"][0]["text"]
