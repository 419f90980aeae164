"""Integers written with a fraction of zero or an exponent, which JSON Schema calls integers."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.schema.parsing import parse_json, parse_number
from api.schema.request import CompletionRequest, request_model, to_integers
from reference.params import CompletionParams
from tests.api.http_client import PATH, complete, error_locations
from tests.api.toy import VOCABULARY

REQUEST = request_model(20, VOCABULARY)
INTEGERS = ["max_tokens", "top_k", "n", "logprobs", "seed"]


def parse(name: str, number: str) -> Any:
    """Return the value of a parameter that is sent as this JSON text."""
    body = f'{{"model": "toy", "prompt": "w", "{name}": {number}}}'
    return getattr(REQUEST.model_validate(parse_json(body.encode())), name)


def send(client: TestClient, name: str, value: str) -> Any:
    return client.post(PATH, content=f'{{"model": "toy", "prompt": [24], "{name}": {value}}}')


@st.composite
def spellings(draw: st.DrawFn) -> tuple[int, str]:
    """Draw an integer and its JSON text with a fraction or an exponent."""
    value = draw(st.integers(-(2**63), 2**64 - 1) | st.integers(-5, 5))
    zeros = draw(st.integers(0, 4))
    spelled = (
        f"{value}.0{'0' * zeros}",
        f"{value}e{'0' * zeros}0",
        f"{value}E+0",
        f"{value}{'0' * zeros}e-{zeros}",
        f"{Decimal(value).scaleb(-zeros):f}e{zeros}",
    )
    return value, draw(st.sampled_from(spelled))


@given(spellings())
@example((2**64 - 1, "18446744073709551615.0"))
@example((2**53 + 1, "9007199254740993.0"))
@example((-(2**63), "-9.223372036854775808e18"))
@example((0, "-0.0"))
def test_seed_is_exact_in_any_spelling(case: tuple[int, str]) -> None:
    value, text = case
    assert type(seed := parse("seed", text)) is int and seed == value


@given(spellings())
def test_parsed_number_has_the_value_of_the_text(case: tuple[int, str]) -> None:
    value, text = case
    assert parse_number(text) == value
    assert isinstance(parse_number(text), float) == (abs(value) < 2**53)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("text", ["2.0", "2e0", "20e-1", "0.2E+1"])
def test_integer_parameters_accept_floats(name: str, text: str) -> None:
    assert type(value := parse(name, text)) is int and value == 2


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("text", ["70.5", "1e-1", "9007199254740993.5", "true", "1e999", "[1.0]"])
def test_other_numbers_are_refused(toy_client: TestClient, name: str, text: str) -> None:
    [(_, location)] = error_locations(send(toy_client, name, text))
    assert location == [name]


def test_nan_is_refused(toy_client: TestClient) -> None:
    for name, text in ("seed", "NaN"), ("stop_token_ids", "[NaN]"), ("top_k", "Infinity"):
        [(kind, _)] = error_locations(send(toy_client, name, text))
        assert kind == "json_invalid"


def test_large_float_is_an_exact_integer() -> None:
    assert parse("top_k", "1e300") == 10**300
    assert parse("temperature", "1.0") == 1.0 and isinstance(parse("temperature", "1.0"), float)


IDS = [[24.0], [24, 25.0], [2e0, 3], [[24.0], [25, 26.0]]]


@pytest.mark.parametrize("prompt", IDS, ids=str)
def test_token_ids_may_be_floats(toy_client: TestClient, prompt: list[Any]) -> None:
    integers = json.loads(json.dumps(prompt).replace(".0", ""))
    sent, expected = (complete(toy_client, prompt=p) for p in (prompt, integers))
    assert sent["choices"] == expected["choices"] and sent["usage"] == expected["usage"]


def test_stop_token_ids_may_be_floats(toy_client: TestClient) -> None:
    [choice] = complete(toy_client, stop_token_ids=[26.0, 5e0])["choices"]
    assert choice["stop_reason"] == 26 and choice["text"] == "x"
    [choice] = complete(toy_client, stop_token_ids=[27.0])["choices"]
    assert json.dumps(choice["stop_reason"]) == "27"


WRONG_IDS: list[tuple[str, str, list[Any]]] = [
    ("prompt", "[70.5]", ["prompt", 0]),
    ("prompt", "[5, 70.5, 5.0]", ["prompt", 1]),
    ("prompt", "[5.0, true]", ["prompt", 1]),
    ("prompt", '[5.0, "5"]', ["prompt", 1]),
    ("prompt", "[[5.0], [5, 7.5]]", ["prompt", 1, 1]),
    ("prompt", "[-1.0]", ["prompt", 0]),
    ("prompt", f"[5.0, {VOCABULARY}.0]", ["prompt", 1]),
    ("prompt", "[9007199254740993.5]", ["prompt", 0]),
    ("prompt", "[1e999]", ["prompt", 0]),
    ("prompt", "7.0", ["prompt"]),
    ("stop_token_ids", "[5, 70.5]", ["stop_token_ids", 1]),
    ("stop_token_ids", "[5.0, false]", ["stop_token_ids", 1]),
    ("stop_token_ids", f"[{VOCABULARY}.0]", ["stop_token_ids", 0]),
    ("stop_token_ids", "5.0", ["stop_token_ids"]),
]


@pytest.mark.parametrize(("name", "text", "location"), WRONG_IDS)
def test_wrong_token_id_is_located(
    toy_client: TestClient, name: str, text: str, location: list[Any]
) -> None:
    body = f'{{"model": "toy", "prompt": "w", "{name}": {text}}}'.replace(
        '"prompt": "w", "prompt"', '"prompt"'
    )
    [(_, actual)] = error_locations(toy_client.post(PATH, content=body))
    assert actual == location


def test_list_without_floats_is_not_copied() -> None:
    ids = list(range(100_000))
    assert to_integers(ids) is ids


def test_document_describes_integers() -> None:
    properties = REQUEST.model_json_schema()["properties"]
    text = json.dumps([properties["prompt"], properties["stop_token_ids"], properties["seed"]])
    assert '"integer"' in text and '"number"' not in text


def test_params_are_integers() -> None:
    body = {"model": "toy", "prompt": [5.0], "stop_token_ids": [5.0], "seed": 7.0, "n": 2.0}
    request: CompletionRequest = REQUEST.model_validate(body)
    params: CompletionParams = request.params()
    values = [*params.stop_token_ids, params.seed, params.n, *request.prompts()[0]]
    assert [type(value) for value in values] == [int] * 4
