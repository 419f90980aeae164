"""The embedded vision-language model over HTTP, on both backends and against transformers."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from conformance.parity.harness.requests import collect
from jax_backend.training.vision import drawing
from jax_backend.training.vision.scenes import (
    COUNT_QUESTION,
    QUESTION,
    caption,
    count_answer,
    question,
)
from reference.bundle import EMBEDDED, Bundle, load_bundle
from reference.images.placement import expand_placeholders
from reference.params import CompletionParams
from reference.request import Request
from tests.conftest import serve
from tests.goldens import GOLDENS
from tests.support.captions import SEED, image_uri

IMAGES = 12
Complete = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=["reference", pytest.param("jax", marks=pytest.mark.lane)])
def complete(request: pytest.FixtureRequest) -> Iterator[Complete]:
    """Send a request to the model on one backend."""
    served = serve(request.param, "vision")

    def post(**fields: Any) -> dict[str, Any]:
        body = {"model": served.name, "temperature": 0, "max_tokens": 64} | fields
        response = client.post("/v1/openai/completions", json=body)
        assert response.status_code == 200, response.text
        completion: dict[str, Any] = response.json()
        return completion

    with TestClient(create_app([served])) as client:
        yield post
    served.engine.close()


@pytest.fixture(scope="module")
def vision_bundle() -> Bundle:
    return load_bundle(EMBEDDED / "vision")


def test_captions_of_unseen_images(complete: Complete) -> None:
    """At most two of the first of the 500 images of docs/embedded-vision.md are wrong."""
    images = [drawing.image(SEED, index) for index in range(IMAGES)]
    for query, expected in (QUESTION, caption), (COUNT_QUESTION, count_answer):
        completion = complete(
            prompt=[question(query)] * IMAGES, data={"image": [image_uri(i) for i, _ in images]}
        )
        texts = [choice["text"] for choice in completion["choices"]]
        correct = [f" {expected(scene)}" for _, scene in images]
        assert sum(a == b for a, b in zip(texts, correct, strict=True)) >= IMAGES - 2


def test_image_format_does_not_change_output(complete: Complete) -> None:
    image, _ = drawing.image(SEED, 0)
    uris = [image_uri(image, "png"), image_uri(image, "gif"), image_uri(image, "webp")]
    completion = complete(prompt=[question(QUESTION)] * 3, data={"image": uris})
    assert len({choice["text"] for choice in completion["choices"]}) == 1


def test_spelling_of_uri_does_not_change_output(complete: Complete) -> None:
    plain = image_uri(drawing.image(SEED, 0)[0])
    other = image_uri(drawing.image(SEED, 1)[0])
    body = plain.partition(",")[2]
    content = base64.b64decode(body)
    uris = [
        plain,
        "data:image/png;base64," + "\r\n".join(re.findall(".{1,76}", body)),
        "data:image/png;base64," + body.rstrip("="),
        "data:image/png;base64," + "".join(f"%{ord(c):02x}" for c in body),
        " DATA:Image/PNG;name=a;charset=utf-8; BASE64," + body.replace("+", "%2B") + "#a",
        "data:image/png," + "".join(f"%{byte:02X}" for byte in content),
        other,
    ]
    completion = complete(prompt=[question(QUESTION)] * len(uris), data={"image": uris})
    *same, different = [choice["text"] for choice in completion["choices"]]
    assert set(same) == {same[0]} and different != same[0]


def test_text_prompts_still_work(complete: Complete) -> None:
    completion = complete(
        prompt="Write a JSON record of a person named Lily.\n",
        response_format={"type": "json_object"},
    )
    assert json.loads(completion["choices"][0]["text"])["name"] == "Lily"


def greedy_request(model: Bundle, index: int) -> Request:
    image, _ = drawing.image(SEED, index)
    ids = model.tokenizer.encode(question(QUESTION))
    data = {"image": [image_uri(image)]}
    [(prompt, images)] = expand_placeholders([ids], data, model.image_processor, model.context)
    params = CompletionParams(temperature=0, max_tokens=64)
    return Request.of(prompt, params, images=images)


def test_captions_match_transformers(vision_bundle: Bundle) -> None:
    """Fifty images, with the same prompt ids; transformers preprocesses the pixels itself."""
    golden = json.loads((GOLDENS / "captions.json").read_text())
    assert golden["seed"] == SEED and len(golden["captions"]) == 50
    requests = [greedy_request(vision_bundle, index) for index in range(50)]
    for request, expected in zip(requests, golden["captions"], strict=True):
        assert list(request.prompt) == expected["prompt"]
    engine = serve("reference", "vision").engine
    results = collect(engine, requests)
    engine.close()
    assert [result.tokens[0] for result in results] == [g["output"] for g in golden["captions"]]
