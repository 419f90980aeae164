"""`multipleOf`, compared with exact decimals."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from conformance.fixtures.format_corpus import json_schema_format
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import UnsupportedFormat
from reference.grammar.language.multiples import MAX_INTEGER_DIGITS, is_decidable_step
from reference.grammar.response_format import compile_format
from tests.support.hypothesis_budget import example_budget
from tests.support.jsonschema_oracle import is_instance

STEPS = st.sampled_from([1, 2, 3, 7, 10, 12, 64, 97, 250, 1000, 0.5, 0.25, 0.125, 1.5, 2.5, 0.375])


def accepts(schema: dict[str, Any], text: str) -> bool:
    language = compile_format(json_schema_format(schema))
    assert language is not None
    return Derivatives(language).accepts(text.encode())


@example_budget(80)
@given(STEPS, st.integers(-(10**6), 10**6), st.integers(0, 4), st.sampled_from([0, 0, 1, -1]))
@example(7, 10**15 // 7, 0, 0)
@example(0.125, 8 * 10**15 - 1, 3, 0)
def test_multiples_and_their_neighbors(step: float, factor: int, decimals: int, off: int) -> None:
    value = Decimal(factor) * Decimal(step) + off * Decimal(1).scaleb(-decimals)
    text = f"{value:.{decimals}f}"
    assume(Decimal(text) == value)
    schema = {"type": "number", "multipleOf": step}
    expected = Fraction(value) % Fraction(step) == 0
    assert accepts(schema, text) == expected == is_instance(schema, text)
    integers = {"type": "integer", "multipleOf": step}
    if "." not in text:
        assert accepts(integers, text) == expected == is_instance(integers, text)


@example_budget(40)
@given(STEPS, st.integers(-500, 500), st.integers(0, 2000), st.integers(-600, 2600))
def test_bounds(step: float, low: int, span: int, value: int) -> None:
    schema = {"type": "integer", "multipleOf": step, "minimum": low, "maximum": low + span}
    if not any(Fraction(n) % Fraction(step) == 0 for n in range(low, low + span + 1)):
        with pytest.raises(UnsupportedFormat, match="no text is an instance"):
            accepts(schema, str(value))
        return
    assert accepts(schema, str(value)) == is_instance(schema, str(value))


def test_longest_multiples() -> None:
    """A float has more digits than these numbers, so that all validators read the same value."""
    largest = 10**MAX_INTEGER_DIGITS - 1
    schema = {"type": "number", "multipleOf": 0.125}
    for text in f"{largest}", f"{largest}.875", f"-{largest}.125{'0' * 197}":
        assert accepts(schema, text)
        assert Decimal(text) == Decimal(float(text))
    assert not accepts(schema, f"{largest + 1}")
    assert not accepts(schema, f"0.5{'0' * 200}")


@pytest.mark.parametrize(
    ("step", "decidable"),
    [(1, True), (1000, True), (970, True), (101, False), (1024, False), (125, True)]
    + [
        (0.0625, False),
        (0.1, False),
        (1e300, False),
        (50.5, False),
        (7.75, True),
        (40.25, False),
        (12.5, True),
    ],
)
def test_steps_with_few_remainders_are_supported(step: float, decidable: bool) -> None:
    assert is_decidable_step(Fraction(step)) == decidable
