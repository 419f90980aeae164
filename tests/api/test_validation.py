"""Validation of the fields of a body: every error is reported, in the order of the fields."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.app import create_app
from api.schema.request import MAX_PROMPTS, CompletionRequest, request_model
from reference.params import CompletionParams
from tests.api.http_client import PATH, Json, complete, error_locations, post
from tests.api.toy import VOCABULARY, toy_model

TABLE = {f.name: f for f in fields(CompletionParams)}


def test_fields_match_the_table_in_order() -> None:
    for model in CompletionRequest, request_model(20, 100):
        assert list(model.model_fields) == ["model", "prompt", *TABLE]
        for name, spec in TABLE.items():
            field = model.model_fields[name]
            assert field.description == spec.metadata["meaning"]
            assert field.default == (None if spec.default == () else spec.default)


def test_bounds_match_the_table() -> None:
    properties = request_model(20, 100).model_json_schema()["properties"]
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    for name, spec in TABLE.items():
        if spec.default != ():
            schema = json.dumps(properties[name])
            for bound, limit in spec.metadata["bounds"].items():
                assert f'"{names[bound]}": {json.dumps(limit)}' in schema, name


OUT_OF_RANGE = [
    *(("max_tokens", 0, "greater_than"), ("max_tokens", 1_000_001, "less_than_equal")),
    *(("temperature", -0.1, "greater_than_equal"), ("temperature", 2.1, "less_than_equal")),
    *(("top_p", -0.1, "greater_than_equal"), ("top_p", 1.1, "less_than_equal")),
    *(("min_p", -0.1, "greater_than_equal"), ("min_p", 1.1, "less_than_equal")),
    ("top_k", -1, "greater_than_equal"),
    *(("n", 0, "greater_than_equal"), ("n", 5, "less_than_equal")),
    *(("logprobs", -1, "greater_than_equal"), ("logprobs", 21, "less_than_equal")),
    *(("stop", ["x"] * 17, "too_long"), ("stop", "", "string_too_short")),
    *(
        ("presence_penalty", -2.1, "greater_than_equal"),
        ("presence_penalty", 2.1, "less_than_equal"),
    ),
    ("frequency_penalty", -2.1, "greater_than_equal"),
    ("frequency_penalty", 2.1, "less_than_equal"),
    ("repetition_penalty", 0.009, "greater_than_equal"),
    ("repetition_penalty", 5.1, "less_than_equal"),
    *(("seed", -(2**63) - 1, "greater_than_equal"), ("seed", 2**64, "less_than")),
]


@pytest.mark.parametrize(("name", "value", "kind"), OUT_OF_RANGE)
def test_out_of_range_value_is_refused(
    toy_client: TestClient, name: str, value: Any, kind: str
) -> None:
    response = post(toy_client, **{name: value})
    assert error_locations(response) == [(kind, [name])]
    [error] = response.json()["detail"]
    assert error["input"] == value and len(error["ctx"]) > 0


BOUNDARY_VALUES = [
    *({"max_tokens": 1}, {"max_tokens": 1_000_000}, {"max_tokens": None}),
    *(
        {"temperature": 0},
        {"temperature": 2},
        {"top_p": 0},
        {"top_p": 1},
        {"min_p": 0},
        {"min_p": 1},
    ),
    *({"top_k": 0}, {"top_k": 10**30}, {"n": 1}, {"n": 4}, {"logprobs": 0}, {"logprobs": 20}),
    *({"logprobs": None}, {"echo": None}, {"echo": False}, {"stop": None}, {"stop": []}),
    *({"stop": ["x"] * 16}, {"stop": "x"}, {"stop_token_ids": None}, {"stop_token_ids": []}),
    *({"stop_token_ids": [0, VOCABULARY - 1]}, {"presence_penalty": -2}, {"presence_penalty": 2}),
    *({"frequency_penalty": -2}, {"frequency_penalty": 2}, {"repetition_penalty": 0.01}),
    *({"repetition_penalty": 5}, {"response_format": None}, {"response_format": {"type": "text"}}),
    *({"user": None}, {"user": "u"}, {"seed": -(2**63)}, {"seed": 2**64 - 1}, {"seed": None}),
    *({"stream_options": None}, {"stream_options": {}}, {"return_tokens_as_token_ids": None}),
    *({"prompt_cache_key": None}, {"prompt_cache_key": "k"}, {"data": None}),
    *({"prompt": [VOCABULARY - 1]}, {"prompt": [0]}, {"prompt": ""}),
]


@pytest.mark.parametrize("body", BOUNDARY_VALUES, ids=str)
def test_boundary_value_is_accepted(toy_client: TestClient, body: Json) -> None:
    complete(toy_client, **body)


LAX = [
    *(({"n": "2"}, {"n": 2}), ({"max_tokens": 2.0}, {"max_tokens": 2})),
    *(({"temperature": "0"}, {"temperature": 0}), ({"echo": "yes"}, {"echo": True})),
    ({"stop_token_ids": ["27"]}, {"stop_token_ids": [27]}),
]


@pytest.mark.parametrize(("sent", "equivalent"), LAX)
def test_lax_coercion(toy_client: TestClient, sent: Json, equivalent: Json) -> None:
    assert complete(toy_client, **sent)["choices"] == complete(toy_client, **equivalent)["choices"]


NUMBERS = [
    *("max_tokens", "temperature", "top_p", "min_p", "top_k", "n", "logprobs"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "seed"),
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, False])
def test_boolean_is_not_a_number(toy_client: TestClient, name: str, value: bool) -> None:
    kind = "float_type" if isinstance(TABLE[name].default, float) else "int_type"
    assert error_locations(post(toy_client, **{name: value})) == [(kind, [name])]


def test_boolean_is_not_a_token_id(toy_client: TestClient) -> None:
    response = post(toy_client, stop_token_ids=[5, True])
    assert error_locations(response) == [("int_type", ["stop_token_ids", 1])]


def test_stream_accepts_a_word(toy_client: TestClient) -> None:
    assert post(toy_client, stream="yes").headers["content-type"].startswith("text/event-stream")


WRONG_TYPES = [
    *(("n", 1.5, "int_from_float"), ("n", "x", "int_parsing"), ("n", None, "int_type")),
    *(("temperature", None, "float_type"), ("temperature", "hot", "float_parsing")),
    *(("stream", "perhaps", "bool_parsing"), ("user", 5, "string_type"), ("stop", 5, "stop_type")),
    *(("prompt", 5, "prompt_type"), ("prompt", None, "prompt_type"), ("prompt", {}, "prompt_type")),
    *(("prompt", [], "too_short"), ("model", 5, "string_type"), ("seed", [], "int_type")),
    *(("stream_options", [], "model_attributes_type"), ("data", 3, "model_attributes_type")),
    ("response_format", "json", "model_attributes_type"),
    *(("response_format", {}, "union_tag_not_found"),),
    ("response_format", {"type": "xml"}, "union_tag_invalid"),
]


@pytest.mark.parametrize(("name", "value", "kind"), WRONG_TYPES)
def test_wrong_type_is_refused(toy_client: TestClient, name: str, value: Any, kind: str) -> None:
    assert error_locations(post(toy_client, **{name: value})) == [(kind, [name])]


WRONG_ITEMS: list[tuple[Json, str, list[Any]]] = [
    ({"prompt": [1, "a"]}, "int_type", ["prompt", 1]),
    ({"prompt": ["a", 1]}, "string_type", ["prompt", 1]),
    ({"prompt": [True]}, "int_type", ["prompt", 0]),
    ({"prompt": [1, VOCABULARY]}, "less_than", ["prompt", 1]),
    ({"prompt": [-1]}, "greater_than_equal", ["prompt", 0]),
    ({"prompt": [[1], []]}, "too_short", ["prompt", 1]),
    ({"prompt": [[1], [2, VOCABULARY]]}, "less_than", ["prompt", 1, 1]),
    ({"prompt": [[1], 2]}, "list_type", ["prompt", 1]),
    ({"prompt": ["a"] * (MAX_PROMPTS + 1)}, "too_long", ["prompt"]),
    ({"stop": ["a", 1]}, "string_type", ["stop", 1]),
    ({"stop": ["a", ""]}, "string_too_short", ["stop", 1]),
    ({"stop_token_ids": [1, VOCABULARY]}, "less_than", ["stop_token_ids", 1]),
    ({"stop_token_ids": [1, -1]}, "greater_than_equal", ["stop_token_ids", 1]),
    ({"stream_options": {"include_usage": 7}}, "bool_parsing", ["stream_options", "include_usage"]),
    ({"data": {"image": ["x", 1]}}, "string_type", ["data", "image", 1]),
    ({"data": {"image": "x"}}, "list_type", ["data", "image"]),
    ({"response_format": {"type": "regex"}}, "missing", ["response_format", "regex"]),
    ({"response_format": {"type": "json_schema"}}, "missing", ["response_format", "json_schema"]),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "missing",
        ["response_format", "json_schema", "schema"],
    ),
]


@pytest.mark.parametrize(("body", "kind", "location"), WRONG_ITEMS)
def test_error_names_the_item(
    toy_client: TestClient, body: Json, kind: str, location: list[Any]
) -> None:
    assert error_locations(post(toy_client, **body)) == [(kind, location)]


def test_error_reports_value_and_limit(toy_client: TestClient) -> None:
    [error] = post(toy_client, stop_token_ids=[VOCABULARY]).json()["detail"]
    assert (error["input"], error["ctx"]) == (VOCABULARY, {"lt": VOCABULARY})
    [error] = post(toy_client, logprobs=21).json()["detail"]
    assert error["ctx"] == {"le": 20}


def test_multiple_errors_are_in_field_order(toy_client: TestClient) -> None:
    wrong: Json = {
        "data": 1,
        "seed": "x",
        "response_format": 1,
        "stop_token_ids": 1,
        "stop": 1,
        "logprobs": 99,
        "n": 9,
        "top_p": 2,
        "temperature": 3,
        "max_tokens": 0,
        "prompt": 1,
        "model": ...,
    }
    errors = error_locations(post(toy_client, **wrong))
    assert [location for _, location in errors] == [[name] for name in reversed(wrong)]
    assert errors[0] == ("missing", ["model"])


def test_missing_required_fields(toy_client: TestClient) -> None:
    response = toy_client.post(PATH, json={"n": 2})
    assert error_locations(response) == [("missing", ["model"]), ("missing", ["prompt"])]
    assert response.json()["detail"][0] == {
        "type": "missing",
        "loc": ["body", "model"],
        "msg": "Field required",
        "input": {"n": 2},
    }


def test_invalid_value_precedes_unknown_model(
    toy_client: TestClient,
) -> None:
    assert error_locations(post(toy_client, model="x", n=9)) == [("less_than_equal", ["n"])]
    assert post(toy_client, model="x", prompt=[10**6]).status_code == 404


LONG = "x" * 100_000
HUGE: list[Json] = [
    *(
        {"n": LONG},
        {"n": [LONG]},
        {"n": {LONG: LONG}},
        {"stop": {LONG: 1}},
        {"stop": [[LONG]] * 16},
    ),
    *({"prompt": [1, *["x"] * 50_000]}, {"stop_token_ids": ["x"] * 50_000}, {"model": LONG}),
    *({"prompt": [[1], *[[]] * 50_000]}, {"prompt": ["x", *[1] * 50_000]}, {"prompt": [[LONG]]}),
    *({"response_format": {"type": LONG}}, {"response_format": {LONG: 1}}),
    *({"data": {"image": [1] * 50_000}}, {"data": {"image": LONG}}, {"prompt": ["x"] * 50_000}),
    *({"temperature": [[[[LONG]]]]}, {"prompt": ..., "user": LONG}, {"stop": ["x"] * 50_000}),
]


@pytest.mark.parametrize("body", HUGE, ids=lambda body: str(body)[:40])
def test_echoed_input_is_short(toy_client: TestClient, body: Json) -> None:
    response = post(toy_client, **body)
    assert response.status_code in (404, 422)
    assert len(response.content) < 20_000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["text", "regex", "json_schema", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "regex", "image", "schema", "x"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*TABLE, "prompt", "model", "other"]), JSON), st.booleans())
def test_arbitrary_json_is_handled(toy_client: TestClient, body: Json, has_defaults: bool) -> None:
    """Any field may have any JSON value, or a value that only Python reads as JSON."""
    body = {"model": "toy", "prompt": "w"} | body if has_defaults else body
    response = toy_client.post(PATH, content=json.dumps(body))
    assert response.status_code in (200, 400, 404, 422)
    if response.status_code == 422:
        assert error_locations(response)
        json.dumps(response.json(), allow_nan=False, ensure_ascii=False).encode()


def test_max_logprobs_of_the_server() -> None:
    served = toy_model()
    client = TestClient(create_app([served], max_logprobs=3))
    assert post(client, logprobs=3).status_code == 200
    response = post(client, logprobs=4)
    assert error_locations(response) == [("less_than_equal", ["logprobs"])]
    assert response.json()["detail"][0]["ctx"] == {"le": 3}
    served.engine.close()
