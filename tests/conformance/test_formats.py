"""What the checks of response_format take for right. No server of ours shows it yet."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.checks import response_format
from conformance.registry import all_checks
from conformance.runner import run_one
from conformance.verdicts import Verdict
from reference.model import Model
from tests.conformance.conftest import target
from tests.conformance.mutants.response_format import saying

CHECKS = {check.id: check for check in all_checks()}
RIGHT = {
    "json-object-is-an-object": '{"a": [1, {"b": null}]}',
    "white-space-is-bounded": '{"a b": "          ",\n       "c": 1}',
    "json-schema-is-an-instance": '{"count": -3, "colour": "green"}',
    "regex-is-matched": "abba-042",
}

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_text_passes(tiny_model: Model, name: str) -> None:
    with target(saying(tiny_model, RIGHT[name]), tiny_model) as right:
        result = run_one(right, CHECKS[f"response_format/{name}"])
    assert result.verdict is Verdict.PASS, result


def test_texts_that_are_all_cut_off_say_nothing(tiny_model: Model) -> None:
    with target(saying(tiny_model, '{"a": ', "length"), tiny_model) as cut:
        result = run_one(cut, CHECKS["response_format/json-object-is-an-object"])
    assert result.verdict is Verdict.INCONCLUSIVE, result


@given(
    value=st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    indent=st.none() | st.just(1),
    ascii_only=st.booleans(),
)
def test_every_beginning_of_an_object_is_one(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for end in range(len(text) + 1):
        assert response_format.begins_an_object(text[:end]), text[:end]


@pytest.mark.parametrize(
    "text", ["a", "[", "{a", '{"a" 1', '{"a": 1}}', '{"a": 1} b', '{"a": tru3', "{]", '{"a": [}']
)
def test_what_cannot_become_an_object(text: str) -> None:
    assert not response_format.begins_an_object(text)
