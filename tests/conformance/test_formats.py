"""What the checks of response_format take for right, also of what no server of ours writes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import json_texts
from conformance.checks.response_format import SCHEMA, SCHEMAS, SELDOM
from conformance.registry import all_checks
from conformance.runner import run_one
from conformance.verdicts import Verdict
from reference.model import Model
from tests import instances
from tests.conformance.conftest import target
from tests.conformance.mutants.response_format import saying

CHECKS = {check.id: check for check in all_checks()}
RIGHT = {
    "json-object-is-an-object": '{"a": [1, {"b": null}]}',
    "white-space-is-bounded": '{"a b": "          ",\n       "c": 1}',
    "json-schema-is-an-instance": '{"count": -3, "colour": "green"}',
    "properties-come-in-order": '{"z":null, "a" :null,\n"m":null}',
    "regex-is-matched": "abba-042",
}

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)

NAMES = st.sampled_from(["a", "colour", "count", "leaf", "next", "b"])
NUMBERS = st.sampled_from([0, 1, 1.0, 1.5, 2, 3, 4, 96, 97, 97.5, 98, -20, -21, 350, 351, 1e-9])
NEAR = st.recursive(
    st.sampled_from([None, True, False, "red", "blue", "abc", "abcabca", "é\n", "d"]) | NUMBERS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=6,
)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_text_passes(tiny_model: Model, name: str) -> None:
    with target(saying(tiny_model, RIGHT[name]), tiny_model) as right:
        result = run_one(right, CHECKS[f"response_format/{name}"])
    assert result.verdict is Verdict.PASS, result


@pytest.mark.parametrize("name", ["json-object-is-an-object", "each-part-of-a-schema-holds"])
def test_texts_that_are_all_cut_off_say_nothing(tiny_model: Model, name: str) -> None:
    with target(saying(tiny_model, '{"a": ', "length"), tiny_model) as cut:
        result = run_one(cut, CHECKS[f"response_format/{name}"])
    assert result.verdict is Verdict.INCONCLUSIVE, result


@given(
    value=st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    indent=st.none() | st.just(1),
    ascii_only=st.booleans(),
)
def test_every_beginning_of_an_object_is_one(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for end in range(len(text) + 1):
        assert json_texts.begins_an_object(text[:end]), text[:end]
        assert json_texts.begins_a_value(text[:end]), text[:end]


@pytest.mark.parametrize(
    "text", ["a", "[", "{a", '{"a" 1', '{"a": 1}}', '{"a": 1} b', '{"a": tru3', "{]", '{"a": [}']
)
def test_what_cannot_become_an_object(text: str) -> None:
    assert not json_texts.begins_an_object(text)


@pytest.mark.parametrize("text", ["a", "}", "1 2", '"a" b', "nul1", "[1,,", "NaN", "[Infinity]"])
def test_what_cannot_become_a_value(text: str) -> None:
    assert not json_texts.begins_a_value(text)
    assert not json_texts.is_instance(text, True)


@pytest.mark.parametrize("schema", [SCHEMA, *SCHEMAS, *SELDOM.values()], ids=str)
@given(value=NEAR)
def test_an_instance_is_what_jsonschema_says(schema: Any, value: Any) -> None:
    text = json.dumps(value)
    assert json_texts.is_instance(text, schema) == instances.is_instance(schema, text)
