"""The embedded model that sees, over HTTP, on both backends; and what transformers makes of it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from conformance.parity.harness.requests import collect
from jax_backend.training.vision.drawing import picture
from jax_backend.training.vision.scenes import (
    HOW_MANY,
    QUESTION,
    caption,
    how_many,
    question,
)
from reference.bundle import EMBEDDED, Bundle, load_bundle
from reference.images.placement import expand_placeholders
from reference.params import CompletionParams
from reference.request import Request
from tests.conftest import serve
from tests.goldens import GOLDENS
from tests.support.captions import SEED, uri

PICTURES = 12
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=["reference", "jax"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """A request to the model, on one backend."""
    served = serve(request.param, "vision")

    def post(**fields: Any) -> dict[str, Any]:
        body = {"model": served.name, "temperature": 0, "max_tokens": 64} | fields
        response = client.post("/v1/openai/completions", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    with TestClient(create_app([served])) as client:
        yield post
    served.engine.close()


@pytest.fixture(scope="module")
def seeing() -> Bundle:
    return load_bundle(EMBEDDED / "vision")


def test_it_says_what_is_in_pictures_that_it_has_not_seen(ask: Ask) -> None:
    """All of the first of the 500 that are told of in docs/embedded-vision.md, but one or two."""
    drawn = [picture(SEED, index) for index in range(PICTURES)]
    for asking, expected in (QUESTION, caption), (HOW_MANY, how_many):
        answer = ask(
            prompt=[question(asking)] * PICTURES, data={"image": [uri(d) for d, _ in drawn]}
        )
        said = [choice["text"] for choice in answer["choices"]]
        right = [f" {expected(what)}" for _, what in drawn]
        assert sum(a == b for a, b in zip(said, right, strict=True)) >= PICTURES - 2


def test_the_same_picture_in_another_format_is_the_same(ask: Ask) -> None:
    drawn, _ = picture(SEED, 0)
    uris = [uri(drawn, "png"), uri(drawn, "gif"), uri(drawn, "webp")]
    answer = ask(prompt=[question(QUESTION)] * 3, data={"image": uris})
    assert len({choice["text"] for choice in answer["choices"]}) == 1


def test_it_still_writes(ask: Ask) -> None:
    answer = ask(
        prompt="Write a JSON record of a person named Lily.\n",
        response_format={"type": "json_object"},
    )
    assert json.loads(answer["choices"][0]["text"])["name"] == "Lily"


def greedy(model: Bundle, index: int) -> Request:
    drawn, _ = picture(SEED, index)
    ids = model.tokenizer.encode(question(QUESTION))
    data = {"image": [uri(drawn)]}
    [(prompt, images)] = expand_placeholders([ids], data, model.sight, model.context)
    params = CompletionParams(temperature=0, max_tokens=64)
    return Request.of(prompt, params, images=images)


def test_transformers_gives_the_same_answers(seeing: Bundle) -> None:
    """To fifty pictures, from a prompt of the same ids, with its own preparation of the pixels."""
    golden = json.loads((GOLDENS / "captions.json").read_text())
    assert golden["seed"] == SEED and len(golden["captions"]) == 50
    requests = [greedy(seeing, index) for index in range(50)]
    for request, expected in zip(requests, golden["captions"], strict=True):
        assert list(request.prompt) == expected["prompt"]
    engine = serve("reference", "vision").engine
    answers = collect(engine, requests)
    engine.close()
    assert [answer.tokens[0] for answer in answers] == [one["output"] for one in golden["captions"]]
