"""The bound on the work of compiling a format."""

import string
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from conformance.fixtures.format_corpus import json_schema_format
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import TooComplex, UnsupportedFormat
from reference.grammar.language.multiples import MAX_DIVISOR, Multiples, is_decidable_step
from reference.grammar.language.work_budget import MAX_WORK, WorkBudget
from reference.grammar.response_format import compile_format
from reference.grammar.schema import names
from reference.grammar.schema.constraints import Constraints
from reference.grammar.schema.document import Document
from reference.grammar.schema.names import property_pointers


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


STEPS = [n for n in range(1, MAX_DIVISOR + 1) if is_decidable_step(Fraction(n))]


def multiples_of(steps: list[int], **keywords: Any) -> dict[str, Any]:
    """An object with a property for each step."""
    properties = {
        f"p{i}": {"type": "integer", "multipleOf": n, **keywords} for i, n in enumerate(steps)
    }
    return json_schema_format({"type": "object", "properties": properties})


@pytest.mark.parametrize("kind", ["integer", "number"])
@pytest.mark.parametrize("step", [992, 1000, 930, 97])
def test_large_steps_are_within_the_bound(kind: str, step: int) -> None:
    schema = {"type": kind, "multipleOf": step, "minimum": -(10**9) - 1, "maximum": 10**12 + 1}
    language = compile_format(json_schema_format(schema))
    assert language is not None
    derivatives = Derivatives(language)
    assert derivatives.accepts(str(-7 * step).encode())
    assert not derivatives.accepts(str(7 * step + 1).encode())


def test_multiples_are_built_once_for_a_schema() -> None:
    """The longest lists contain the shorter ones, and more properties share them than any cache of
    a few steps could serve.
    """
    steps = STEPS[:25] * 20
    assert compile_format(multiples_of(steps)) is not None
    budget = WorkBudget()
    multiples = Multiples(budget)
    multiples.non_negative(Fraction(992), 15, integral=True)
    remaining = budget.remaining
    assert remaining < MAX_WORK
    for digits in range(1, 30):
        multiples.non_negative(Fraction(992), digits, integral=True)
    assert budget.remaining == remaining


def test_work_of_multiples_grows_with_the_different_remainders() -> None:
    """992 remainders lead to 496 different ones after a digit, 1000 to 100, and 97 to 97."""
    spent = {}
    for step in 992, 1000, 97:
        budget = WorkBudget()
        Multiples(budget).non_negative(Fraction(step), 2, integral=True)
        spent[step] = MAX_WORK - budget.remaining
    assert spent == {992: 20 * 496, 1000: 20 * 100, 97: 20 * 97}


@pytest.mark.parametrize("keywords", [{}, {"minimum": 3}, {"maximum": 10**14}])
def test_too_many_different_steps_are_refused_by_keyword(keywords: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedFormat, match=r"/p\d+/multipleOf: it takes too long to compile"):
        compile_format(multiples_of(STEPS[::-1], **keywords))


def test_few_different_large_steps_are_supported() -> None:
    assert compile_format(multiples_of([n for n in STEPS if n >= 900][:6])) is not None


def test_names_are_compared_with_patterns_within_the_bound() -> None:
    """The names share no prefix, so that each needs derivatives of its own."""
    properties = dict.fromkeys(words(500, 150), True)
    schema = {
        "properties": properties,
        "patternProperties": {f"a.{{9}}b.*{i}": True for i in range(6)},
    }
    with pytest.raises(UnsupportedFormat, match="it takes too long to compile"):
        compile_format(json_schema_format({"type": "object", **schema}))


def test_names_spend_their_length_for_each_pattern() -> None:
    document = Document({"properties": {}, "patternProperties": {"b": True, "c": True}})
    constraints = Constraints(document, ("",))
    property_pointers(constraints, "a" * 9)
    remaining = document.work.remaining
    property_pointers(constraints, "a" * 9)
    # Both patterns are compared in two dialects; the derivatives are computed once.
    assert remaining - document.work.remaining == 2 * 2 * 9


def test_patterns_are_counted_before_names_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "matches", lambda *arguments, **options: 1 / 0)
    patterns = {f"a{i}": True for i in range(7)}
    schema = {"type": "object", "properties": {"a": True}, "patternProperties": patterns}
    with pytest.raises(UnsupportedFormat, match="/patternProperties: .*at most 6 patterns"):
        compile_format(json_schema_format(schema))


def test_budget_is_spent() -> None:
    budget = WorkBudget()
    budget.spend(MAX_WORK)
    with pytest.raises(TooComplex, match="it takes too long to compile"):
        budget.spend(1)
