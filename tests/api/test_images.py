"""Images over HTTP with the toy model, which ignores pixels: errors and token counts."""

import base64
import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api import completions
from api.app import create_app
from api.engine import ServedModel
from api.prepare import PreparedRequest, prepare
from api.schema.request import CompletionRequest, request_model
from reference.images.limits import ImageLimits
from reference.images.placement import ImageProcessor
from reference.images.preprocessor import Preprocessor
from tests.api.conftest import Build, toy_engine, wait_until
from tests.api.toy import CONTEXT, IDS, toy_model
from tests.support.image_files import IMAGE_FILES, INVALID_IMAGE_URIS, data_uri, png

PATH = "/v1/openai/completions"
TOKENS_PER_IMAGE = 7
PIXEL = data_uri(png(1, 1))
IMAGE_PROCESSOR = ImageProcessor(
    preprocessor=Preprocessor.from_json({"size": 4, "crop_size": 4}),
    image_token_id=IDS[b"!"],
    tokens_per_image=TOKENS_PER_IMAGE,
    limits=ImageLimits(images=3, pixels=10_000),
)
Json = dict[str, Any]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    served = replace(toy_model(), image_processor=IMAGE_PROCESSOR)
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


def test_image_tokens_are_counted(client: TestClient) -> None:
    text, images = post(client, "ab", []), post(client, "a!b!", [PIXEL, PIXEL])
    assert text.json()["usage"]["prompt_tokens"] == 3
    assert images.json()["usage"]["prompt_tokens"] == 3 + 2 * TOKENS_PER_IMAGE


@pytest.mark.parametrize(
    ("prompt", "count"), [("a", 1), ("a!", 0), ("a!", 2), (["a!", "!"], 1), ([[3, 35]], 0)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_image_count_mismatch_is_400(
    client: TestClient, prompt: Any, count: int, stream: bool
) -> None:
    error = error_of(post(client, prompt, [PIXEL] * count, stream=stream))
    assert error["code"] == "image_count_mismatch" and f"{count} image" in error["message"]


def test_too_many_images_are_400(client: TestClient) -> None:
    error = error_of(post(client, "!!!!", [PIXEL] * 4))
    assert error["code"] == "too_many_images" and "maximum of 3" in error["message"]


@pytest.mark.parametrize("name", INVALID_IMAGE_URIS)
def test_invalid_image_error_names_the_index(client: TestClient, name: str) -> None:
    error = error_of(post(client, "!a!", [PIXEL, INVALID_IMAGE_URIS[name]]))
    assert error["code"] == "invalid_image" and error["message"].startswith("data.image[1]: ")


def test_image_tokens_fill_the_context(client: TestClient) -> None:
    fitting = CONTEXT - 1 - 1 - TOKENS_PER_IMAGE  # BOS, an image, and a token of output
    assert post(client, "a" * fitting + "!", [PIXEL]).status_code == 200
    response = post(client, "a" * (fitting + 1) + "!", [PIXEL])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_echo_repeats_the_prompt_verbatim(client: TestClient) -> None:
    [choice] = post(client, "a!b", [PIXEL], echo=True, logprobs=1, max_tokens=1).json()["choices"]
    entries = choice["logprobs"]
    assert choice["text"].startswith("a!b")
    assert entries["tokens"][: 3 + TOKENS_PER_IMAGE] == ["<s>", "a", *["!"] * TOKENS_PER_IMAGE, "b"]
    assert entries["text_offset"][: 4 + TOKENS_PER_IMAGE] == [0, 0, *[1] * TOKENS_PER_IMAGE, 2, 3]


def test_prompt_list_consumes_images_in_order(client: TestClient) -> None:
    response = post(client, ["!a", "b", "!!"], [PIXEL] * 3, n=2)
    assert len(response.json()["choices"]) == 6
    assert response.json()["usage"]["prompt_tokens"] == 3 + 2 + 3 * TOKENS_PER_IMAGE


def test_invalid_field_precedes_invalid_image(client: TestClient) -> None:
    assert post(client, "!", [INVALID_IMAGE_URIS["text"]], top_p=7).status_code == 422


CORPUS = [path.read_bytes() for path in IMAGE_FILES]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Draw an image of the corpus with changed bytes, cut off, or with a wrong media type."""
    data = bytearray(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    kind = draw(st.sampled_from(["image/png", "image/webp", "image/svg+xml", "text/html", ""]))
    text = base64.b64encode(bytes(data[: draw(st.integers(0, len(data)))])).decode()
    head = draw(st.sampled_from([f"data:{kind};base64,", f"data:{kind},", "", "http://127.0.0.1/"]))
    return head + text


@settings(max_examples=200)
@given(st.text("!ab", min_size=1, max_size=4), st.lists(damaged() | st.text(), max_size=4))
def test_damaged_images_are_handled(client: TestClient, prompt: str, images: list[str]) -> None:
    response = post(client, prompt, images)
    assert response.status_code in (200, 400, 422)
    assert len(response.content) < 3000


def test_base64_is_not_kept_in_the_prepared_request() -> None:
    served = replace(toy_model(), image_processor=IMAGE_PROCESSOR)
    body = {"model": "toy", "prompt": "!", "data": {"image": [PIXEL]}}
    parsed = request_model(5).model_validate(body)
    prepared = prepare(served, parsed, "principal")
    assert prepared.params.data is None and len(prepared.images[0]) == 1
    assert parsed.data is not None and parsed.data.image == [PIXEL]
    served.engine.close()


def test_base64_is_freed_before_generation(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    served = replace(build(pause=0.02), image_processor=IMAGE_PROCESSOR)
    engine, bodies = toy_engine(served), []

    def recording(model: ServedModel, body: CompletionRequest, principal: str) -> PreparedRequest:
        bodies.append(weakref.ref(body))
        return prepare(model, body, principal)

    monkeypatch.setattr(completions, "prepare", recording)
    client = TestClient(create_app([served]))
    thread = threading.Thread(target=post, args=(client, "!~", [PIXEL]))
    thread.start()
    wait_until(lambda: engine.tokens[1] >= 3)
    gc.collect()
    assert [body() for body in bodies] == [None] and not engine.idle
    thread.join()
