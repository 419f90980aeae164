"""/tokenize and /detokenize, in the shapes of vLLM."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from tests.api.conftest import Build
from tests.api.http_client import PATH
from tests.api.toy import CONTEXT


def test_tokens_of_a_text(build: Build) -> None:
    client = TestClient(create_app([build()]))
    body: dict[str, Any] = {"model": "toy", "prompt": "az"}
    expected: dict[str, Any] = {"count": 3, "max_model_len": CONTEXT, "tokens": [0, 2, 27]}
    assert client.post("/tokenize", json=body).json() == expected | {"token_strs": None}
    body |= {"add_special_tokens": False, "return_token_strs": True}
    expected |= {"count": 2, "tokens": [2, 27], "token_strs": ["a", "z"]}
    assert client.post("/tokenize", json=body).json() == expected


def test_integral_floats_are_ids(build: Build) -> None:
    client = TestClient(create_app([build()]))
    response = client.post("/detokenize", json={"model": "toy", "tokens": [2.0, 27]})
    assert response.json() == {"prompt": "az"}


@given(st.text(max_size=30))
def test_round_trip(jax_served: ServedModel, text: str) -> None:
    client = TestClient(create_app([jax_served]))
    body = {"model": jax_served.name, "prompt": text}
    tokens = client.post("/tokenize", json=body).json()["tokens"]
    body = {"model": jax_served.name, "tokens": tokens}
    assert client.post("/detokenize", json=body).json() == {"prompt": text}
    if 1 < len(tokens) < jax_served.context:
        completion = {"model": jax_served.name, "prompt": text, "max_tokens": 1}
        usage = client.post(PATH, json=completion).json()["usage"]
        assert usage["prompt_tokens"] == len(tokens)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The dog", [" The", " dog"]),
        ("<s>The dog", ["<s>", " The", " dog"]),
        ("<s><s>", ["<s>", "<s>"]),
        ("<s>", ["<s>"]),
        ("", []),
        ("</s> dog<s>", ["</s>", " dog", "<s>"]),
    ],
)
def test_add_special_tokens_keeps_those_of_the_text(
    reference_served: ServedModel, text: str, names: list[str]
) -> None:
    client = TestClient(create_app([reference_served]))
    body: dict[str, Any] = {"model": reference_served.name, "prompt": text}
    body |= {"add_special_tokens": False, "return_token_strs": True}
    result = client.post("/tokenize", json=body).json()
    assert (result["token_strs"], result["count"]) == (names, len(names))
    added = client.post("/tokenize", json=body | {"add_special_tokens": True}).json()
    prefix = [] if text.startswith("<s>") else ["<s>"]
    assert added["token_strs"] == prefix + names


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tokenize", {"model": "toy"}, 422),
        ("/tokenize", {"model": "toy", "prompt": 1}, 422),
        ("/tokenize", {"model": "toy", "prompt": "a", "messages": []}, 422),
        ("/tokenize", {"model": "other", "prompt": "a"}, 404),
        ("/detokenize", {"model": "toy", "tokens": [-1]}, 400),
        ("/detokenize", {"model": "toy", "tokens": [10**6]}, 400),
        ("/detokenize", {"model": "toy", "tokens": [True]}, 422),
        ("/detokenize", {"model": "other", "tokens": []}, 404),
    ],
)
def test_invalid_bodies(build: Build, path: str, body: Any, status: int) -> None:
    response = TestClient(create_app([build()])).post(path, json=body)
    assert response.status_code == status, response.text


def test_key_is_required(build: Build) -> None:
    client = TestClient(create_app([build()], keys=["key"], max_body_bytes=100))
    body = {"model": "toy", "prompt": "a"}
    assert client.post("/tokenize", json=body).status_code == 401
    assert client.post("/detokenize", json=body).status_code == 401
    headers = {"xi-api-key": "key"}
    assert client.post("/tokenize", json=body, headers=headers).status_code == 200
    body["prompt"] = "a" * 200
    assert client.post("/tokenize", json=body, headers=headers).status_code == 413
