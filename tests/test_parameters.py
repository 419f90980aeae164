"""Demonstrations of every parameter, over HTTP on the embedded model.

Each demonstration shows the effect of one parameter. It runs twice: against the endpoint, where it
must hold, and through a proxy that drops the parameter, where it must fail. A parameter without a
demonstration fails the suite.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from reference import sampler
from reference.params import CompletionParams
from tests.support.coverage import CONTRACT
from tests.support.readme import table

ROOT = Path(__file__).parent.parent
STORY = "Once upon a time"
Ask = Callable[..., Any]

DEMONSTRATIONS: dict[str, Callable[[Ask], None]] = {}


def demonstrates(name: str) -> Callable[[Callable[[Ask], None]], None]:
    def register(f: Callable[[Ask], None]) -> None:
        assert name not in DEMONSTRATIONS
        DEMONSTRATIONS[name] = f

    return register


@pytest.fixture(scope="module", params=["reference", "jax"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """Serve the embedded model on each backend."""
    served = request.getfixturevalue(f"{request.param}_served")
    with TestClient(create_app([served])) as client:
        yield client


def requester(client: TestClient, dropped: str | None = None) -> Ask:
    """Return a function that sends one request, without the dropped parameter.

    reuse: whether it may return the answer to an earlier request with the same body.
    """

    def ask(*, reuse: bool = False, **body: Any) -> Any:
        body = {"model": "tiny-text", "prompt": STORY, "max_tokens": 8, "temperature": 0} | body
        sent = {k: v for k, v in body.items() if v is not ... and k != dropped}
        if reuse:
            return reused_answer(client, json.dumps(sent, sort_keys=True))
        return send(client, sent)

    return ask


def send(client: TestClient, body: dict[str, Any]) -> Any:
    """Return the answer to a request: the object with its status, or the events of a stream."""
    response = client.post("/v1/completions", json=body)
    if response.headers["content-type"].startswith("text/event-stream"):
        lines = [x.removeprefix("data: ") for x in response.text.split("\n\n") if x]
        assert lines.pop() == "[DONE]"
        return [json.loads(x) for x in lines]
    return response.json() | {"status": response.status_code}


@cache
def reused_answer(client: TestClient, body: str) -> Any:
    return send(client, json.loads(body))


def text(answer: Any) -> str:
    return str(answer["choices"][0]["text"])


def test_contract_has_demonstrations() -> None:
    assert sorted(DEMONSTRATIONS) == sorted(CONTRACT)


@pytest.mark.parametrize("name", CONTRACT)
def test_parameter_is_honored(client: TestClient, name: str) -> None:
    DEMONSTRATIONS[name](requester(client))


@pytest.mark.parametrize("name", CONTRACT)
def test_demonstration_fails_without_parameter(client: TestClient, name: str) -> None:
    with pytest.raises((AssertionError, KeyError, TypeError)):
        DEMONSTRATIONS[name](requester(client, dropped=name))


@pytest.mark.parametrize("field", fields(CompletionParams), ids=lambda f: f.name)
def test_parameter_names_its_specification(field: Any) -> None:
    module, _, name = field.metadata["spec"].rpartition(".")
    assert getattr(import_module(f"reference.{module}"), name).__doc__


@pytest.mark.parametrize("name", [name for name, _ in sampler.STEPS[1:]])
def test_step_docstring_is_complete(name: str) -> None:
    doc = inspect.getdoc(getattr(import_module("reference.logits"), name))
    assert re.findall(r"^(\w[\w ]*?): +\S", str(doc).partition("\n")[2], re.M) == [
        "Meaning",
        "Boundary",
        "Ties",
        "Off value",
        "Source",
        "Example",
    ]


def test_readme_has_the_parameter_table() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "\n".join(table()) in readme


@demonstrates("model")
def _(ask: Ask) -> None:
    assert ask(model="tiny-text")["status"] == 200
    assert ask(model="another")["status"] == 404


@demonstrates("prompt")
def _(ask: Ask) -> None:
    story, answer = ask(prompt="Once upon a time"), ask(prompt="Q: What sound does a cow make?")
    assert text(story) != text(answer)
    ids = ask(prompt=[1, 5, 9, 300])
    assert ids["usage"]["prompt_tokens"] == 4
    listed = ask(prompt=["Once upon a time", "Q: What sound does a cow make?"])
    assert [c["text"] for c in listed["choices"]] == [text(story), text(answer)]


@demonstrates("max_tokens")
def _(ask: Ask) -> None:
    for count in 1, 3:
        answer = ask(max_tokens=count, prompt="Once upon a time there was")
        assert answer["usage"]["completion_tokens"] == count
        assert answer["choices"][0]["finish_reason"] == "length"
    filled = ask(max_tokens=1_000_000, prompt=[5] * 510)
    assert filled["usage"]["completion_tokens"] == 2
    assert filled["choices"][0]["finish_reason"] == "length"


@demonstrates("temperature")
def _(ask: Ask) -> None:
    greedy = {text(ask(temperature=0, seed=s)) for s in range(4)}
    sampled = {text(ask(temperature=1.5, seed=s)) for s in range(4)}
    assert len(greedy) == 1 and len(sampled) > 1
    assert ask(temperature=2.1)["detail"][0]["loc"] == ["body", "temperature"]


def first_tokens(ask: Ask, **params: Any) -> tuple[list[float], list[float]]:
    """Sample 40 first tokens at temperature 2. Return their log-probabilities, and the model's four
    highest.
    """
    answers = [
        ask(prompt="The", max_tokens=1, temperature=2, seed=s, logprobs=4, **params)
        for s in range(40)
    ]
    entries = [a["choices"][0]["logprobs"] for a in answers]
    top = sorted(entries[0]["top_logprobs"][0].values(), reverse=True)[:4]
    return [e["token_logprobs"][0] for e in entries], top


@demonstrates("top_k")
def _(ask: Ask) -> None:
    values, top = first_tokens(ask, top_k=3)
    assert set(values) <= set(top[:3]) and len(set(values)) > 1
    assert min(first_tokens(ask)[0]) < top[3]


@demonstrates("top_p")
def _(ask: Ask) -> None:
    assert len(set(first_tokens(ask, top_p=0)[0])) == 1
    assert len(set(first_tokens(ask, top_p=1)[0])) > 1


@demonstrates("min_p")
def _(ask: Ask) -> None:
    """At temperature T, p ≥ min_p · p_max means that a logit is at most T · −log(min_p) below the
    highest.
    """
    values, top = first_tokens(ask, min_p=0.3)
    assert min(values) >= top[0] + 2 * math.log(0.3) - 1e-4
    assert min(first_tokens(ask)[0]) < top[0] + 2 * math.log(0.3)


@demonstrates("n")
def _(ask: Ask) -> None:
    answer = ask(n=3, temperature=1.5, seed=1)
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2]
    assert len({c["text"] for c in answer["choices"]}) > 1
    assert answer["choices"][0]["text"] == text(ask(n=1, temperature=1.5, seed=1))


@demonstrates("stream")
def _(ask: Ask) -> None:
    events = ask(stream=True)
    assert isinstance(events, list) and len(events) > 1
    assert "".join(e["choices"][0]["text"] for e in events) == text(ask())


@demonstrates("stream_options")
def _(ask: Ask) -> None:
    without = ask(stream=True, stream_options={"include_usage": False})
    continuous = ask(stream=True, stream_options={"continuous_usage_stats": True})
    assert not any(e.get("usage") for e in without)
    counts = [e["usage"]["completion_tokens"] for e in continuous]
    assert counts == sorted(counts) and counts[-1] > counts[0]


@demonstrates("logprobs")
def _(ask: Ask) -> None:
    entries = ask(logprobs=2)["choices"][0]["logprobs"]
    assert len(entries["tokens"]) == len(entries["token_logprobs"]) == len(entries["text_offset"])
    for token, value, top in zip(
        entries["tokens"], entries["token_logprobs"], entries["top_logprobs"], strict=True
    ):
        assert len(top) == 2 and top[token] == value == max(top.values())
    assert all(len(t) == 1 for t in ask(logprobs=0)["choices"][0]["logprobs"]["top_logprobs"])
    assert ask()["choices"][0]["logprobs"] is None


@demonstrates("echo")
def _(ask: Ask) -> None:
    answer = ask(echo=True, logprobs=1)["choices"][0]
    assert answer["text"] == STORY + text(ask())
    entries = answer["logprobs"]
    assert entries["token_logprobs"][0] is None and entries["top_logprobs"][0] is None
    offsets = [*entries["text_offset"], len(answer["text"])]
    spelled = [answer["text"][a:b] for a, b in zip(offsets, offsets[1:], strict=False)]
    assert "".join(spelled) == answer["text"]


@demonstrates("stop")
def _(ask: Ask) -> None:
    free = text(ask(max_tokens=20))
    stop = free[5:8]
    answer = ask(max_tokens=20, stop=[stop, "never to be seen"])["choices"][0]
    assert answer["text"] == free[: free.index(stop)]
    assert (answer["finish_reason"], answer["stop_reason"]) == ("stop", stop)
    assert text(ask(max_tokens=20, stop=stop)) == answer["text"]


@demonstrates("stop_token_ids")
def _(ask: Ask) -> None:
    rows = ask(logprobs=0, return_tokens_as_token_ids=True)["choices"][0]["logprobs"]
    third = int(rows["tokens"][2].removeprefix("token_id:"))
    answer = ask(stop_token_ids=[third])
    choice = answer["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", third)
    assert answer["usage"]["completion_tokens"] <= 3
    assert text(ask()).startswith(choice["text"]) and text(ask()) != choice["text"]


def variety(ask: Ask, **params: Any) -> float:
    """Return the share of distinct tokens in four outputs at a high temperature."""
    answer = ask(
        reuse=True,
        max_tokens=60,
        temperature=2,
        n=4,
        seed=1,
        logprobs=0,
        return_tokens_as_token_ids=True,
        **params,
    )
    outputs = [choice["logprobs"]["tokens"] for choice in answer["choices"]]
    return sum(len(set(tokens)) for tokens in outputs) / sum(map(len, outputs))


@demonstrates("presence_penalty")
def _(ask: Ask) -> None:
    """A presence counts once, so the effect is smaller than that of the frequency penalty."""
    assert variety(ask, presence_penalty=-2) < variety(ask) < variety(ask, presence_penalty=2)
    assert variety(ask, presence_penalty=-2) != variety(ask, frequency_penalty=-2)


@demonstrates("frequency_penalty")
def _(ask: Ask) -> None:
    """A negative penalty grows with each occurrence, until one token repeats."""
    assert variety(ask, frequency_penalty=-2) < variety(ask) < variety(ask, frequency_penalty=2)
    assert variety(ask, frequency_penalty=-2) < 0.9 * variety(ask, presence_penalty=-2)


@demonstrates("repetition_penalty")
def _(ask: Ask) -> None:
    """Tokens of the prompt count too: the answer in the prompt is not repeated."""
    assert variety(ask, repetition_penalty=0.5) < variety(ask) < variety(ask, repetition_penalty=2)
    question = "Q: What sound does a dog make?\nA: A dog says"
    prompt = f"{question} woof.\n{question}"
    assert text(ask(prompt=prompt)).startswith(" woof")
    assert not text(ask(prompt=prompt, repetition_penalty=5)).startswith(" woof")


@demonstrates("response_format")
def _(ask: Ask) -> None:
    assert text(ask(response_format={"type": "text"})) == text(ask())
    instruction = "Write a JSON record of a person named Lily.\n"
    record = text(ask(prompt=instruction, response_format={"type": "json_object"}, max_tokens=100))
    assert json.loads(record)["name"] == "Lily"
    regex = {"type": "regex", "regex": "[0-9]{4}-[0-9]{2}"}
    assert re.fullmatch(regex["regex"], text(ask(response_format=regex)))
    schema = {"type": "object", "properties": {"day": {"enum": ["Monday"]}}, "required": ["day"]}
    schema["additionalProperties"] = False
    day = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert json.loads(text(ask(response_format=day, max_tokens=40))) == {"day": "Monday"}
    refused = ask(response_format={"type": "json_schema", "json_schema": {"schema": {"not": {}}}})
    assert refused["status"] == 400 and "/not" in refused["error"]["message"]


@demonstrates("user")
def _(ask: Ask) -> None:
    assert text(ask(user="u-1")) == text(ask())
    assert ask(user=[])["detail"][0]["loc"] == ["body", "user"]


@demonstrates("seed")
def _(ask: Ask) -> None:
    same = {text(ask(temperature=1.5, seed=s)) for s in (-1, 2**64 - 1, -1)}
    assert len(same) == 1
    assert len({text(ask(temperature=1.5, seed=s)) for s in range(4)}) > 1
    assert len({text(ask(temperature=1.5)) for _ in range(6)}) > 1


@demonstrates("return_tokens_as_token_ids")
def _(ask: Ask) -> None:
    rows = ask(logprobs=2, return_tokens_as_token_ids=True)["choices"][0]["logprobs"]
    names = [*rows["tokens"], *(name for top in rows["top_logprobs"] for name in top)]
    assert all(re.fullmatch(r"token_id:\d+", name) for name in names)


@demonstrates("prompt_cache_key")
def _(ask: Ask) -> None:
    prompt = STORY + " there was a dog." * 20

    def cached(key: str) -> int:
        answer = ask(prompt=prompt, prompt_cache_key=key)
        return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert cached("one") == 0 and cached("one") > 0
    assert cached("two") == 0


@demonstrates("data")
def _(ask: Ask) -> None:
    refused = ask(data={"image": ["data:image/png;base64,iVBORw0KGgo="]})
    assert refused["status"] == 400
