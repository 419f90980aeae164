"""What is wrong with a body: every error at once, in the order of the fields, and never a 500."""

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
from tests.api.sending import PATH, Json, ask, places, post
from tests.api.toy import VOCABULARY, toy

TABLE = {f.name: f for f in fields(CompletionParams)}


def test_the_fields_are_those_of_the_table_in_its_order() -> None:
    for model in CompletionRequest, request_model(20, 100):
        assert list(model.model_fields) == ["model", "prompt", *TABLE]
        for name, spec in TABLE.items():
            field = model.model_fields[name]
            assert field.description == spec.metadata["meaning"]
            assert field.default == (None if spec.default == () else spec.default)


def test_bounds_are_the_tables() -> None:
    properties = request_model(20, 100).model_json_schema()["properties"]
    names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    for name, spec in TABLE.items():
        if spec.default != ():
            shown = json.dumps(properties[name])
            for bound, limit in spec.metadata["bounds"].items():
                assert f'"{names[bound]}": {json.dumps(limit)}' in shown, name


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
def test_out_of_range(toy_client: TestClient, name: str, value: Any, kind: str) -> None:
    response = post(toy_client, **{name: value})
    assert places(response) == [(kind, [name])]
    [error] = response.json()["detail"]
    assert error["input"] == value and len(error["ctx"]) > 0


AT_THE_EDGE = [
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


@pytest.mark.parametrize("body", AT_THE_EDGE, ids=str)
def test_at_the_edge(toy_client: TestClient, body: Json) -> None:
    ask(toy_client, **body)


LAX = [
    *(({"n": "2"}, {"n": 2}), ({"max_tokens": 2.0}, {"max_tokens": 2})),
    *(({"temperature": "0"}, {"temperature": 0}), ({"echo": "yes"}, {"echo": True})),
    ({"stop_token_ids": ["27"]}, {"stop_token_ids": [27]}),
]


@pytest.mark.parametrize(("given", "meant"), LAX)
def test_lax_coercions(toy_client: TestClient, given: Json, meant: Json) -> None:
    assert ask(toy_client, **given)["choices"] == ask(toy_client, **meant)["choices"]


NUMBERS = [
    *("max_tokens", "temperature", "top_p", "min_p", "top_k", "n", "logprobs"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "seed"),
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_no_number(toy_client: TestClient, name: str, value: bool) -> None:
    kind = "float_type" if isinstance(TABLE[name].default, float) else "int_type"
    assert places(post(toy_client, **{name: value})) == [(kind, [name])]


def test_a_boolean_is_no_id(toy_client: TestClient) -> None:
    response = post(toy_client, stop_token_ids=[5, True])
    assert places(response) == [("int_type", ["stop_token_ids", 1])]


def test_a_word_can_ask_for_a_stream(toy_client: TestClient) -> None:
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
def test_wrong_types(toy_client: TestClient, name: str, value: Any, kind: str) -> None:
    assert places(post(toy_client, **{name: value})) == [(kind, [name])]


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


@pytest.mark.parametrize(("body", "kind", "place"), WRONG_ITEMS)
def test_items_are_named(toy_client: TestClient, body: Json, kind: str, place: list[Any]) -> None:
    assert places(post(toy_client, **body)) == [(kind, place)]


def test_the_limits_of_items_are_told(toy_client: TestClient) -> None:
    [error] = post(toy_client, stop_token_ids=[VOCABULARY]).json()["detail"]
    assert (error["input"], error["ctx"]) == (VOCABULARY, {"lt": VOCABULARY})
    [error] = post(toy_client, logprobs=21).json()["detail"]
    assert error["ctx"] == {"le": 20}


def test_every_error_at_once_in_the_order_of_the_fields(toy_client: TestClient) -> None:
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
    found = places(post(toy_client, **wrong))
    assert [place for _, place in found] == [[name] for name in reversed(wrong)]
    assert found[0] == ("missing", ["model"])


def test_both_required_fields(toy_client: TestClient) -> None:
    response = toy_client.post(PATH, json={"n": 2})
    assert places(response) == [("missing", ["model"]), ("missing", ["prompt"])]
    assert response.json()["detail"][0] == {
        "type": "missing",
        "loc": ["body", "model"],
        "msg": "Field required",
        "input": {"n": 2},
    }


def test_values_out_of_range_of_a_model_that_is_not_served_are_still_a_422(
    toy_client: TestClient,
) -> None:
    assert places(post(toy_client, model="x", n=9)) == [("less_than_equal", ["n"])]
    assert post(toy_client, model="x", prompt=[10**6]).status_code == 404


MALFORMED: list[tuple[bytes, list[Any]]] = [
    (b"{", [1]),
    (b"nonsense", [0]),
    (b'{"model": "toy", "temperature": NaN}', [32]),
    (b'{"a": "NaN \\" ", "n": -Infinity}', [22]),
    (b"[Infinity]", [1]),
    (b"\xff\xfe{}", [0]),
    ('{"prompt": "é"}'.encode("latin-1"), [12]),
    ('{"prompt": "é"}'.encode("utf-16"), [0]),
    (b"\xef\xbb\xbf{}", [0]),
    (b'{"n": ' + b"1" * 5000 + b"}", [6]),
    (b"[" * 100_000, [0]),
    (b'{"a":' * 101 + b"1" + b"}" * 101, [0]),
    (b'{"prompt": "\x01"}', [12]),
]


@pytest.mark.parametrize(("body", "place"), MALFORMED, ids=lambda x: repr(x)[:30])
def test_malformed(toy_client: TestClient, body: bytes, place: list[Any]) -> None:
    response = toy_client.post(PATH, content=body)
    assert places(response) == [("json_invalid", place)]
    [error] = response.json()["detail"]
    assert error["ctx"]["error"] and error["msg"] == "JSON decode error"


def test_no_body(toy_client: TestClient) -> None:
    assert places(toy_client.post(PATH)) == [("missing", [])]


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "true"])
def test_no_object(toy_client: TestClient, body: str) -> None:
    assert places(toy_client.post(PATH, content=body)) == [("model_attributes_type", [])]


def test_deep_but_not_too_deep(toy_client: TestClient) -> None:
    body = '{"model":"toy","prompt":"w","x":' + "[" * 99 + "]" * 99 + "}"
    assert toy_client.post(PATH, content=body).status_code == 200


SURROGATES: list[tuple[Json, list[Any]]] = [
    ({"prompt": "\ud800"}, ["prompt"]),
    ({"prompt": ["a", "\udfff"]}, ["prompt", 1]),
    ({"stop": "\ud800"}, ["stop"]),
    ({"stop": ["\ud800"]}, ["stop", 0]),
    ({"user": "\ud800"}, ["user"]),
    ({"model": "\ud800"}, ["model"]),
    ({"prompt_cache_key": "\ud800"}, ["prompt_cache_key"]),
    ({"response_format": {"type": "regex", "regex": "\ud800"}}, ["response_format", "regex"]),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"\ud800": 1}}}},
        ["response_format", "json_schema", "schema"],
    ),
]


@pytest.mark.parametrize(("body", "place"), SURROGATES, ids=ascii)
def test_half_a_surrogate_pair_is_no_text(
    toy_client: TestClient, body: Json, place: list[Any]
) -> None:
    sent = json.dumps({"model": "toy", "prompt": "w"} | body)
    assert places(toy_client.post(PATH, content=sent)) == [("string_unicode", place)]


def test_a_whole_surrogate_pair_is(toy_client: TestClient) -> None:
    body = b'{"model": "toy", "prompt": "\\ud83d\\ude00", "echo": true, "max_tokens": 1}'
    assert toy_client.post(PATH, content=body).json()["choices"][0]["text"] == "😀a"


HUGE_NUMBERS = [
    *(("temperature", "1e999", "finite_number"), ("temperature", "-1e999", "finite_number")),
    *(("n", "1e999", "finite_number"), ("top_k", "-1e999", "finite_number")),
    *(("temperature", "1" * 400, "float_type"), ("n", "1" * 400, "less_than_equal")),
    *(("seed", "1" * 4000, "less_than"), ("n", '"' + "1" * 5000 + '"', "int_parsing_size")),
]


@pytest.mark.parametrize(("name", "number", "kind"), HUGE_NUMBERS, ids=lambda x: x[:20])
def test_numbers_out_of_this_world(
    toy_client: TestClient, name: str, number: str, kind: str
) -> None:
    body = f'{{"model": "toy", "prompt": "w", "{name}": {number}}}'
    response = toy_client.post(PATH, content=body)
    assert places(response) == [(kind, [name])]
    assert len(response.content) < 1000


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
def test_echoes_are_short(toy_client: TestClient, body: Json) -> None:
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
def test_anything_gets_an_answer(toy_client: TestClient, body: Json, whole: bool) -> None:
    """Any JSON, and more than JSON, in any field."""
    body = {"model": "toy", "prompt": "w"} | body if whole else body
    response = toy_client.post(PATH, content=json.dumps(body))
    assert response.status_code in (200, 400, 404, 422)
    if response.status_code == 422:
        assert places(response)
        json.dumps(response.json(), allow_nan=False, ensure_ascii=False).encode()


def test_unknown_fields_are_named_and_do_nothing(toy_client: TestClient) -> None:
    response = post(toy_client, best_of=3, ignore_eos=True)
    assert response.headers["x-ignored-parameters"] == "best_of,ignore_eos"
    assert response.json()["choices"] == ask(toy_client)["choices"]
    assert "x-ignored-parameters" not in post(toy_client).headers
    streamed = post(toy_client, best_of=3, stream=True)
    assert streamed.headers["x-ignored-parameters"] == "best_of"


def test_unknown_fields_inside_are_named(toy_client: TestClient) -> None:
    """In the order of the contract, whatever that of the body and the hashes of the process."""
    response = post(
        toy_client,
        data={"video": []},
        stream_options={"include_obfuscation": False},
        response_format={"type": "text", "x.y": 1},
        best_of=1,
    )
    assert response.headers["x-ignored-parameters"].split(",") == [
        "best_of",
        "response_format.x.y",
        "stream_options.include_obfuscation",
        "data.video",
    ]


def test_a_field_without_a_name_is_not_the_body(toy_client: TestClient) -> None:
    response = post(toy_client, **{"": {"n": 9, "x": 1}})
    assert (response.status_code, response.headers["x-ignored-parameters"]) == (200, "")


def test_the_names_of_unknown_fields_are_harmless(toy_client: TestClient) -> None:
    names = ["a\r\nset-cookie: x", "é,", "\ud800", "", LONG, *(f"f{i}" for i in range(10_000))]
    sent = json.dumps({"model": "toy", "prompt": "w"} | dict.fromkeys(names[:4], 1))
    header = toy_client.post(PATH, content=sent).headers["x-ignored-parameters"]
    assert header == "a%0D%0Aset-cookie%3A%20x,%C3%A9%2C,%3F,"
    for some in names[4:5], names[5:]:
        header = post(toy_client, **dict.fromkeys(some, 1)).headers["x-ignored-parameters"]
        assert len(header) < 1100 and header.endswith("...")


def test_strict() -> None:
    served = toy()
    client = TestClient(create_app([served], strict=True))
    response = post(client, n=9, best_of=3, stream_options={"x": 1}, zoo=[LONG])
    assert places(response) == [
        ("less_than_equal", ["n"]),
        ("extra_forbidden", ["best_of"]),
        ("extra_forbidden", ["zoo"]),
        ("extra_forbidden", ["stream_options", "x"]),
    ]
    assert response.json()["detail"][1]["input"] == 3
    assert len(response.content) < 2000
    assert post(client, best_of=1).status_code == 422
    assert post(client).status_code == 200
    assert len(post(client, **{f"f{i}": 1 for i in range(1000)}).json()["detail"]) <= 100
    served.engine.close()


def test_the_servers_limit_of_logprobs() -> None:
    served = toy()
    client = TestClient(create_app([served], max_logprobs=3))
    assert post(client, logprobs=3).status_code == 200
    response = post(client, logprobs=4)
    assert places(response) == [("less_than_equal", ["logprobs"])]
    assert response.json()["detail"][0]["ctx"] == {"le": 3}
    served.engine.close()
