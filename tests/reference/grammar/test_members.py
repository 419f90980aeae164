"""Members of objects and items of arrays, compared with `jsonschema` on every short text."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.fixtures.format_corpus import json_schema_format
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import UnsupportedFormat
from reference.grammar.response_format import compile_format
from tests.support.hypothesis_budget import example_budget
from tests.support.jsonschema_oracle import is_instance

NAMES = ["a", "b", "c", "xa", "é"]
INTEGER = {"type": "integer"}


def derivatives(schema: Any) -> Derivatives | None:
    """Return the derivatives of a schema; None if it has no instance."""
    try:
        language = compile_format(json_schema_format(schema))
    except UnsupportedFormat as error:
        assert "no text is an instance" in str(error)
        return None
    assert language is not None
    return Derivatives(language)


def accepted(matcher: Derivatives | None, value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    return matcher is not None and matcher.accepts(text.encode())


@st.composite
def object_schemas(draw: st.DrawFn) -> dict[str, Any]:
    """Schemas of objects whose properties are listed in the order of `NAMES`."""
    listed = [name for name in NAMES if draw(st.booleans())]
    schema: dict[str, Any] = {
        "type": "object",
        "properties": dict.fromkeys(listed, INTEGER),
        "required": draw(st.lists(st.sampled_from(listed), unique=True)) if listed else [],
        "additionalProperties": draw(st.sampled_from([False, {"type": "null"}])),
    }
    if draw(st.booleans()):
        schema["maxProperties"] = draw(st.integers(0, 4))
    if draw(st.booleans()):
        closed = schema["additionalProperties"] is False
        most = len(NAMES) if closed else len(schema["required"]) + 1
        schema["minProperties"] = draw(st.integers(0, most))
    if draw(st.booleans()):
        patterns = st.sampled_from(["^x", "a$", "[^a]", "^(?!b)"])
        values = st.sampled_from([True, False, INTEGER, {"type": "null"}])
        schema["patternProperties"] = draw(st.dictionaries(patterns, values, max_size=2))
    if draw(st.booleans()):
        names: list[Any] = [{"maxLength": 1}, {"pattern": "a"}, True, {"type": "string"}]
        schema["propertyNames"] = draw(st.sampled_from(names))
    return schema


@example_budget(40)
@given(object_schemas(), st.sampled_from([1, None]))
def test_objects_of_few_names(schema: dict[str, Any], other: int | None) -> None:
    """Listed properties come first; so every object is tried in that order."""
    matcher = derivatives(schema)
    listed = schema["properties"]
    for count in range(len(NAMES) + 1):
        for names in itertools.combinations(NAMES, count):
            ordered = sorted(names, key=lambda name: name not in listed)
            for values in {(1,) * count, (other,) * count, ((1, other) * 3)[:count]}:
                value = dict(zip(ordered, values, strict=True))
                expected = is_instance(schema, json.dumps(value))
                assert accepted(matcher, value) == expected, value


@example_budget(30)
@given(st.data(), st.integers(1, 5), st.integers(0, 4), st.integers(0, 5))
def test_arrays_of_few_values(
    data: st.DataObject, count: int, min_items: int, max_items: int
) -> None:
    values = data.draw(st.permutations([1, 1.5, True, None, "a", [1]]))[:count]
    schema = {"type": "array", "items": {"enum": values}, "uniqueItems": True}
    schema |= {"minItems": min_items, "maxItems": max_items}
    matcher = derivatives(schema)
    for length in range(4):
        for items in itertools.product(values, repeat=length):
            expected = is_instance(schema, json.dumps(items))
            assert accepted(matcher, list(items)) == expected, items


def test_grammar_of_many_properties_is_linear_in_their_number() -> None:
    counts = []
    for count in (100, 400):
        properties = {f"p{i}": {"type": "null"} for i in range(count)}
        matcher = derivatives({"type": "object", "properties": properties})
        assert matcher is not None
        rules = matcher.language.rules.values()
        counts.append(sum(len(getattr(rule, "options", ())) for rule in rules))
    assert counts[1] < 5 * counts[0]


@pytest.mark.parametrize("excess", [0, 1, 2])
def test_minimum_that_repeated_names_could_satisfy_is_refused(excess: int) -> None:
    """One more than is required is exact: any further member is a different property."""
    schema: dict[str, Any] = {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}}
    schema |= {"required": ["a", "b"], "minProperties": 2 + excess}
    if excess == 2:
        with pytest.raises(UnsupportedFormat, match="/minProperties: supported only up to one"):
            compile_format(json_schema_format(schema))
        return
    matcher = derivatives(schema)
    assert accepted(matcher, {"a": 1, "b": 2}) == (excess == 0)
    assert accepted(matcher, {"a": 1, "b": 2, "c": 3})
