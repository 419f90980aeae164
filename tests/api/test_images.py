"""Images over HTTP, in front of the toy, which looks at none: what is refused, what is counted."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.app import create_app
from api.prepare import place
from api.schema.request import request_model
from reference.images.decoding import ImageLimits
from reference.images.placement import ImageProcessor
from reference.images.preprocessor import Preprocessor
from tests.api.toy import CONTEXT, IDS, toy
from tests.reference.images.test_decoding import FILES, NO_PICTURES, png, uri

PATH = "/v1/openai/completions"
ROWS = 7
PIXEL = uri(png(1, 1))
SIGHT = ImageProcessor(
    preprocessor=Preprocessor.from_json({"size": 4, "crop_size": 4}),
    token=IDS[b"!"],
    rows=ROWS,
    limits=ImageLimits(images=3, pixels=10_000),
)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    served = replace(toy(), sight=SIGHT)
    with TestClient(create_app([served])) as client:
        yield client
    served.engine.close()


def post(client: TestClient, prompt: Any, images: list[str], **fields: Any) -> Any:
    body = {"model": "toy", "prompt": prompt, "data": {"image": images}, "temperature": 0}
    return client.post(PATH, json=body | fields)


def error_of(response: Any) -> Json:
    assert response.status_code == 400
    error: Json = response.json()["error"]
    assert error["param"] == "data" and error["type"] == "invalid_request_error"
    return error


def test_an_image_counts_as_its_places(client: TestClient) -> None:
    alone, seen = post(client, "ab", []), post(client, "a!b!", [PIXEL, PIXEL])
    assert alone.json()["usage"]["prompt_tokens"] == 3
    assert seen.json()["usage"]["prompt_tokens"] == 3 + 2 * ROWS


@pytest.mark.parametrize(
    ("prompt", "count"), [("a", 1), ("a!", 0), ("a!", 2), (["a!", "!"], 1), ([[3, 35]], 0)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_another_number_of_images_is_a_400(
    client: TestClient, prompt: Any, count: int, stream: bool
) -> None:
    error = error_of(post(client, prompt, [PIXEL] * count, stream=stream))
    assert error["code"] == "image_count_mismatch" and f"{count} image" in error["message"]


def test_more_images_than_are_taken_are_a_400(client: TestClient) -> None:
    error = error_of(post(client, "!!!!", [PIXEL] * 4))
    assert error["code"] == "too_many_images" and "3 that are taken" in error["message"]


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_a_400_that_says_which(client: TestClient, name: str) -> None:
    error = error_of(post(client, "!a!", [PIXEL, NO_PICTURES[name]]))
    assert error["code"] == "invalid_image" and error["message"].startswith("data.image[1]: ")


def test_images_may_fill_the_context(client: TestClient) -> None:
    fitting = CONTEXT - 1 - 1 - ROWS  # BOS, an image, and a token of output
    assert post(client, "a" * fitting + "!", [PIXEL]).status_code == 200
    response = post(client, "a" * (fitting + 1) + "!", [PIXEL])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_echo_is_the_text_as_it_was_sent(client: TestClient) -> None:
    [choice] = post(client, "a!b", [PIXEL], echo=True, logprobs=1, max_tokens=1).json()["choices"]
    rows = choice["logprobs"]
    assert choice["text"].startswith("a!b")
    assert rows["tokens"][: 3 + ROWS] == ["<s>", "a", *["!"] * ROWS, "b"]
    assert rows["text_offset"][: 4 + ROWS] == [0, 0, *[1] * ROWS, 2, 3]


def test_a_list_of_prompts_takes_the_images_in_order(client: TestClient) -> None:
    response = post(client, ["!a", "b", "!!"], [PIXEL] * 3, n=2)
    assert len(response.json()["choices"]) == 6
    assert response.json()["usage"]["prompt_tokens"] == 3 + 2 + 3 * ROWS


def test_a_wrong_field_comes_before_a_wrong_image(client: TestClient) -> None:
    assert post(client, "!", [NO_PICTURES["text"]], top_p=7).status_code == 422


CORPUS = [path.read_bytes() for path in FILES]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A picture of the corpus, cut off, changed, or under another name."""
    data = bytearray(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    kind = draw(st.sampled_from(["image/png", "image/webp", "image/svg+xml", "text/html", ""]))
    text = base64.b64encode(bytes(data[: draw(st.integers(0, len(data)))])).decode()
    head = draw(st.sampled_from([f"data:{kind};base64,", f"data:{kind},", "", "http://127.0.0.1/"]))
    return head + text


@settings(max_examples=200)
@given(st.text("!ab", min_size=1, max_size=4), st.lists(damaged() | st.text(), max_size=4))
def test_hostile_images_get_an_answer(client: TestClient, prompt: str, images: list[str]) -> None:
    response = post(client, prompt, images)
    assert response.status_code in (200, 400, 422)
    assert len(response.content) < 3000


def test_the_base64_is_not_kept_while_the_answer_is_generated() -> None:
    served = replace(toy(), sight=SIGHT)
    body = {"model": "toy", "prompt": "!", "data": {"image": [PIXEL]}}
    asked = request_model(5).model_validate(body)
    order = place(served, asked, "me")
    assert asked.data is None and order.params.data is None and len(order.images[0]) == 1
    served.engine.close()
