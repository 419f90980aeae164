"""The bound on the work of compiling a format."""

import string
from random import Random
from typing import Any

import pytest

from conformance.fixtures.format_corpus import json_schema_format
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import TooComplex, UnsupportedFormat
from reference.grammar.language.work_budget import MAX_WORK, WorkBudget
from reference.grammar.response_format import compile_format


def words(count: int, length: int) -> list[str]:
    rng = Random(1)
    return ["".join(rng.choices(string.ascii_lowercase + " ", k=length)) for _ in range(count)]


LONG: list[dict[str, Any]] = [
    {"enum": words(500, 180)},
    {"type": "string", "enum": words(500, 180), "pattern": "^[a-z ]*$"},
    {"anyOf": [{"const": word} for word in words(500, 170)]},
    {"oneOf": [{"enum": words(10, 150)}, {"type": "null"}]},
    {"type": "object", "properties": {word: True for word in words(500, 150)}},
]


@pytest.mark.parametrize("schema", LONG, ids=["enum", "pattern", "anyOf", "oneOf", "properties"])
def test_formats_of_the_greatest_length_are_within_the_bound(schema: dict[str, Any]) -> None:
    language = compile_format(json_schema_format(schema))
    assert language is not None
    derivatives = Derivatives(language)
    first = words(1, 180)[0]
    assert derivatives.accepts(f'"{first}"'.encode()) == ("enum" in schema)


ENDS = string.ascii_lowercase + string.digits
SLOW: list[dict[str, Any]] = [
    {"enum": words(250, 200), "anyOf": [{"pattern": f"^[a-z ]*{i}?$"} for i in range(500)]},
    {"enum": words(250, 200), "oneOf": [{"pattern": f"^[a-z ]*{c}$"} for c in ENDS]},
    {"allOf": [{"pattern": f".{{{i}}}a.{{9}}$"} for i in range(100, 110)], "type": "string"},
]


@pytest.mark.parametrize("schema", SLOW, ids=["anyOf", "oneOf", "allOf"])
def test_work_that_grows_faster_than_the_format_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFormat, match="takes too long to compile|exceeds"):
        compile_format(json_schema_format(schema))


def test_budget_is_spent() -> None:
    budget = WorkBudget()
    budget.spend(MAX_WORK)
    with pytest.raises(TooComplex, match="it takes too long to compile"):
        budget.spend(1)
