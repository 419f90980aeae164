"""Parsing of a body: strict JSON of limited depth, parsed on another thread."""

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from api.app import create_app
from api.completions import SHORT_BODY
from api.schema.parsing import MAX_DEPTH, exceeds_max_depth
from api.service import Service
from tests.api.http_client import PATH, Json, RawRequest, error_locations
from tests.api.toy import toy_model

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


@pytest.mark.parametrize(("body", "position"), MALFORMED, ids=lambda x: repr(x)[:30])
def test_malformed_json_is_located(
    toy_client: TestClient, body: bytes, position: list[Any]
) -> None:
    response = toy_client.post(PATH, content=body)
    assert error_locations(response) == [("json_invalid", position)]
    [error] = response.json()["detail"]
    assert error["ctx"]["error"] and error["msg"] == "JSON decode error"


def test_empty_body_is_refused(toy_client: TestClient) -> None:
    assert error_locations(toy_client.post(PATH)) == [("missing", [])]


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "true"])
def test_non_object_is_refused(toy_client: TestClient, body: str) -> None:
    assert error_locations(toy_client.post(PATH, content=body)) == [("model_attributes_type", [])]


def test_maximum_depth_is_accepted(toy_client: TestClient) -> None:
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


@pytest.mark.parametrize(("body", "location"), SURROGATES, ids=ascii)
def test_lone_surrogate_is_refused(toy_client: TestClient, body: Json, location: list[Any]) -> None:
    sent = json.dumps({"model": "toy", "prompt": "w"} | body)
    assert error_locations(toy_client.post(PATH, content=sent)) == [("string_unicode", location)]


def test_surrogate_pair_is_accepted(toy_client: TestClient) -> None:
    body = b'{"model": "toy", "prompt": "\\ud83d\\ude00", "echo": true, "max_tokens": 1}'
    assert toy_client.post(PATH, content=body).json()["choices"][0]["text"] == "😀a"


HUGE_NUMBERS = [
    *(("temperature", "1e999", "finite_number"), ("temperature", "-1e999", "finite_number")),
    *(("n", "1e999", "finite_number"), ("top_k", "-1e999", "finite_number")),
    *(("temperature", "1" * 400, "float_type"), ("n", "1" * 400, "less_than_equal")),
    *(("seed", "1" * 4000, "less_than"), ("n", '"' + "1" * 5000 + '"', "int_parsing_size")),
]


@pytest.mark.parametrize(("name", "number", "kind"), HUGE_NUMBERS, ids=lambda x: x[:20])
def test_huge_number_is_refused(toy_client: TestClient, name: str, number: str, kind: str) -> None:
    body = f'{{"model": "toy", "prompt": "w", "{name}": {number}}}'
    response = toy_client.post(PATH, content=body)
    assert error_locations(response) == [(kind, [name])]
    assert len(response.content) < 1000


TEXTS = st.text(st.sampled_from('[]{}"\\n é'), max_size=8)
JSON = st.recursive(
    TEXTS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
)


def depth(value: Any) -> int:
    """Compute the depth by its definition."""
    if not isinstance(value, dict | list):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, items), default=0)


@given(value=JSON, levels=st.integers(MAX_DEPTH - 5, MAX_DEPTH + 1), ascii_only=st.booleans())
def test_depth_ignores_brackets_in_strings(value: Any, levels: int, ascii_only: bool) -> None:
    for _ in range(levels):
        value = ["[\\", value, "]"]
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert exceeds_max_depth(body) == (depth(value) > MAX_DEPTH)


def test_many_items_are_not_deep() -> None:
    assert not exceeds_max_depth(b'{"prompt": [' + b'[1], "[[[",' * 100_000 + b"[1]]}")
    assert exceeds_max_depth(b"[" * 10_000_000)


@pytest.mark.parametrize("is_long", [True, False])
def test_long_body_is_parsed_on_another_thread(
    is_long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsing millions of items takes seconds, which must not delay other requests."""
    threads: list[threading.Thread] = []
    parse_request = Service.parse_request

    def recording(service: Service, content: bytes) -> Any:
        threads.append(threading.current_thread())
        return parse_request(service, content)

    monkeypatch.setattr(Service, "parse_request", recording)
    served = toy_model()
    body = b'{"model": "toy", "prompt": "w"}'
    request = RawRequest([body.ljust(SHORT_BODY + is_long)])
    asyncio.run(request.run(create_app([served])))
    served.engine.close()
    assert request.status == 200
    assert threads and (threading.current_thread() not in threads) == is_long
