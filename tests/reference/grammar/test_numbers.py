"""Bounded numbers, compared with exact decimals and with the floats that `jsonschema` compares."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import UnsupportedFormat
from reference.grammar.language.json_grammar import MAX_DIGITS
from reference.grammar.response_format import compile_format
from tests.support.hypothesis_budget import example_budget
from tests.support.jsonschema_oracle import is_instance

Bounds = dict[str, Any]

SPECIAL = [0, 1, -1, 7, 10, 99, 100, 105, -12, 1000, 0.1, -0.5, 0.001, 99.95, -7.25, 5e-7, 1e15]
SPECIAL += [1e22, 2**53 + 1, 0.30000000000000004, 1.0, -0.0, 123456789.123]
ONE = st.one_of(
    st.sampled_from(SPECIAL),
    st.sampled_from(SPECIAL),
    st.integers(-1200, 1200),
    st.decimals(-300, 300, places=3).map(float),
)


@st.composite
def bounds(draw: st.DrawFn) -> Bounds:
    """One bound, one on each side, or sometimes two on one side."""
    low, high = sorted([draw(ONE), draw(ONE)])
    lows = {draw(st.sampled_from(["minimum", "exclusiveMinimum"])): low}
    highs = {draw(st.sampled_from(["maximum", "exclusiveMaximum"])): high}
    tighter = {draw(st.sampled_from(["minimum", "exclusiveMinimum"])): draw(ONE)}
    return draw(st.sampled_from([lows, highs, lows | highs, tighter | lows | highs]))


@st.composite
def near(draw: st.DrawFn, limits: Bounds, min_digits: int, max_digits: int) -> str:
    """A number at or near a bound or 0, with min_digits to max_digits digits after the point."""
    start = Decimal(repr(draw(st.sampled_from([*limits.values(), 0]))))
    digits = draw(st.integers(min_digits, max_digits))
    step = Decimal(1).scaleb(-draw(st.integers(max(0, digits - 3), digits)))
    value = start + draw(st.sampled_from([-1, 1, *range(-12, 13)])) * step
    text = f"{value:.{digits}f}"
    return text.replace("-", "") if value == 0 and draw(st.booleans()) else text


@st.composite
def nearest(draw: st.DrawFn, limits: Bounds) -> str:
    """A number next to a bound, at about the precision of a float."""
    start = Decimal(repr(draw(st.sampled_from(list(limits.values())))))
    digits = max(0, draw(st.integers(15, 18)) - len(str(abs(int(start)))))
    return f"{start + draw(st.integers(-3, 3)) * Decimal(1).scaleb(-digits):.{digits}f}"


def between(limits: Bounds, value: Decimal) -> bool:
    is_within = {
        "minimum": lambda limit: value >= limit,
        "exclusiveMinimum": lambda limit: value > limit,
        "maximum": lambda limit: value <= limit,
        "exclusiveMaximum": lambda limit: value < limit,
    }
    return all(is_within[keyword](Decimal(repr(limit))) for keyword, limit in limits.items())


def accepting(schema: dict[str, Any]) -> Callable[[str], bool]:
    """Return a predicate of the accepted texts. It is always false for a schema that is refused
    because it has no instance.
    """
    try:
        language = compile_format({"type": "json_schema", "json_schema": {"schema": schema}})
    except UnsupportedFormat as error:
        assert "no text is an instance" in str(error)
        return lambda text: False
    assert language is not None
    derivatives = Derivatives(language)
    return lambda text: derivatives.accepts(text.encode())


def texts(limits: Bounds, min_digits: int, max_digits: int) -> st.SearchStrategy[list[str]]:
    return st.lists(near(limits, min_digits, max_digits), min_size=6, max_size=6)


@example_budget(20)
@given(bounds(), st.data())
def test_integers(limits: Bounds, data: st.DataObject) -> None:
    accepted = accepting({"type": "integer", **limits})
    for text in data.draw(texts(limits, 0, 0)):
        assert accepted(text) == between(limits, Decimal(text))


@example_budget(20)
@given(bounds(), st.data())
def test_numbers(limits: Bounds, data: st.DataObject) -> None:
    """Numbers of at most 15 digits, which floats tell apart."""
    accepted = accepting({"type": "number", **limits})
    for text in data.draw(texts(limits, 0, 14)):
        if len(re.sub(r"^[-0.]*|\.", "", text)) <= 15:
            assert accepted(text) == between(limits, Decimal(text))


@example_budget(20)
@given(bounds(), st.data())
def test_numbers_as_floats(limits: Bounds, data: st.DataObject) -> None:
    schema = {"type": "number", **limits}
    accepted = accepting(schema)
    for text in filter(accepted, data.draw(st.lists(nearest(limits), min_size=8, max_size=8))):
        assert is_instance(schema, text)
        assert between(limits, Decimal(text))


EXPONENTS = st.integers(-99, 199)


@example_budget(10)
@given(EXPONENTS, EXPONENTS, st.sampled_from([1, -1]), st.booleans(), st.data())
def test_long_bounds(low: int, high: int, sign: int, integral: bool, data: st.DataObject) -> None:
    """Bounds from 10⁻⁹⁹ to 10¹⁹⁹, positive and negative."""
    powers = sorted(sign * (10**n if n >= 0 else float(f"1e{n}")) for n in (low, high))
    lower = data.draw(st.sampled_from(["minimum", "exclusiveMinimum"]))
    upper = data.draw(st.sampled_from(["maximum", "exclusiveMaximum"]))
    limits = {lower: powers[0], upper: powers[1]}
    accepted = accepting({"type": "integer" if integral else "number", **limits})
    for exponent in {low, high}:
        for digits in ("1", "09", "11", "2", "99"):
            text = f"{sign * Decimal(digits).scaleb(exponent - len(digits) + 1):f}"
            exact = between(limits, Decimal(text)) and not (integral and "." in text)
            near_bound = not integral and digits == "1"  # the nearest float may be out of bounds
            assert accepted(text) == exact or (near_bound and not accepted(text)), text


CLOSE: list[tuple[Bounds, str]] = [
    ({"minimum": 0.5, "exclusiveMaximum": 1000}, "999.99999999999999"),
    ({"minimum": 0.5, "maximum": 2**53 + 3}, f"{2**53 + 3}.0"),
    ({"exclusiveMinimum": 0.30000000000000004}, "0.30000000000000005"),
]


def test_numbers_that_round_to_an_excluded_bound_are_rejected() -> None:
    """They are valid as decimals and invalid as floats."""
    for limits, text in CLOSE:
        assert between(limits, Decimal(text))
        assert not is_instance({"type": "number", **limits}, text)
        assert not accepting({"type": "number", **limits})(text), (limits, text)


ANY_NUMBER, ANY_INTEGER = accepting({"type": "number"}), accepting({"type": "integer"})
INTEGERS = st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1)


@example_budget(60)
@given(INTEGERS, st.text("0123456789", max_size=30), st.text("0123456789", max_size=2))
@example(10**MAX_DIGITS - 1, "0" * MAX_DIGITS, "99")
def test_unbounded_numbers(integer: int, fraction: str, exponent: str) -> None:
    text = f"{integer}" + (f".{fraction}" if fraction else "")
    text += f"e-{exponent}" if exponent else ""
    assert ANY_NUMBER(text)
    assert ANY_INTEGER(text) == (text == str(integer))


@example_budget(60)
@given(st.text("0123456789+-.eE", max_size=7))
def test_number_syntax(text: str) -> None:
    assume(not text.lower().partition("e")[2].lstrip("+-")[2:])
    assert ANY_NUMBER(text) == is_instance({"type": "number"}, text)
    assert not ANY_NUMBER("1" * (MAX_DIGITS + 1))
    assert not ANY_NUMBER("1." + "1" * (MAX_DIGITS + 1))
