"""Numbers between bounds, against comparisons of decimals, and of floats as `jsonschema` compares
them.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import UnsupportedFormat
from reference.grammar.language.json_grammar import MOST_DIGITS
from reference.grammar.response_format import compile_format
from tests.support.hypothesis_budget import share
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
    """One bound, or one on each side; now and then two on one side."""
    low, high = sorted([draw(ONE), draw(ONE)])
    lows = {draw(st.sampled_from(["minimum", "exclusiveMinimum"])): low}
    highs = {draw(st.sampled_from(["maximum", "exclusiveMaximum"])): high}
    tighter = {draw(st.sampled_from(["minimum", "exclusiveMinimum"])): draw(ONE)}
    return draw(st.sampled_from([lows, highs, lows | highs, tighter | lows | highs]))


@st.composite
def near(draw: st.DrawFn, asked: Bounds, least: int, most: int) -> str:
    """A number at a bound or just beside it, or 0 or just beside it, with so many digits after the
    point.
    """
    start = Decimal(repr(draw(st.sampled_from([*asked.values(), 0]))))
    places = draw(st.integers(least, most))
    step = Decimal(1).scaleb(-draw(st.integers(max(0, places - 3), places)))
    found = start + draw(st.sampled_from([-1, 1, *range(-12, 13)])) * step
    text = f"{found:.{places}f}"
    return text.replace("-", "") if found == 0 and draw(st.booleans()) else text


@st.composite
def almost(draw: st.DrawFn, asked: Bounds) -> str:
    """A number beside a bound, of about as many digits as a float keeps apart."""
    start = Decimal(repr(draw(st.sampled_from(list(asked.values())))))
    places = max(0, draw(st.integers(15, 18)) - len(str(abs(int(start)))))
    return f"{start + draw(st.integers(-3, 3)) * Decimal(1).scaleb(-places):.{places}f}"


def between(asked: Bounds, value: Decimal) -> bool:
    holds = {
        "minimum": lambda limit: value >= limit,
        "exclusiveMinimum": lambda limit: value > limit,
        "maximum": lambda limit: value <= limit,
        "exclusiveMaximum": lambda limit: value < limit,
    }
    return all(holds[keyword](Decimal(repr(limit))) for keyword, limit in asked.items())


def accepting(schema: dict[str, Any]) -> Callable[[str], bool]:
    """Nothing, if it is refused because nothing is an instance."""
    try:
        language = compile_format({"type": "json_schema", "json_schema": {"schema": schema}})
    except UnsupportedFormat as error:
        assert "no text is an instance" in str(error)
        return lambda text: False
    assert language is not None
    found = Derivatives(language)
    return lambda text: found.accepts(text.encode())


def texts(asked: Bounds, least: int, most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(near(asked, least, most), min_size=6, max_size=6)


@share(20)
@given(bounds(), st.data())
def test_integers(asked: Bounds, data: st.DataObject) -> None:
    accepted = accepting({"type": "integer", **asked})
    for text in data.draw(texts(asked, 0, 0)):
        assert accepted(text) == between(asked, Decimal(text))


@share(20)
@given(bounds(), st.data())
def test_numbers(asked: Bounds, data: st.DataObject) -> None:
    """Of at most 15 digits: so many a float keeps apart."""
    accepted = accepting({"type": "number", **asked})
    for text in data.draw(texts(asked, 0, 14)):
        if len(re.sub(r"^[-0.]*|\.", "", text)) <= 15:
            assert accepted(text) == between(asked, Decimal(text))


@share(20)
@given(bounds(), st.data())
def test_numbers_as_floats(asked: Bounds, data: st.DataObject) -> None:
    schema = {"type": "number", **asked}
    accepted = accepting(schema)
    for text in filter(accepted, data.draw(st.lists(almost(asked), min_size=8, max_size=8))):
        assert is_instance(schema, text)
        assert between(asked, Decimal(text))


CLOSE: list[tuple[Bounds, str]] = [
    ({"minimum": 0.5, "exclusiveMaximum": 1000}, "999.99999999999999"),
    ({"minimum": 0.5, "maximum": 2**53 + 3}, f"{2**53 + 3}.0"),
    ({"exclusiveMinimum": 0.30000000000000004}, "0.30000000000000005"),
]


def test_numbers_that_a_float_cannot_tell_from_a_bound() -> None:
    """What is right on paper and wrong as a float is not accepted."""
    for asked, text in CLOSE:
        assert between(asked, Decimal(text))
        assert not is_instance({"type": "number", **asked}, text)
        assert not accepting({"type": "number", **asked})(text), (asked, text)


ANY_NUMBER, ANY_INTEGER = accepting({"type": "number"}), accepting({"type": "integer"})
WHOLE = st.integers(-(10**MOST_DIGITS) + 1, 10**MOST_DIGITS - 1)


@share(60)
@given(WHOLE, st.text("0123456789", max_size=30), st.text("0123456789", max_size=2))
@example(10**MOST_DIGITS - 1, "0" * MOST_DIGITS, "99")
def test_any_number(whole: int, after: str, exponent: str) -> None:
    text = f"{whole}" + (f".{after}" if after else "") + (f"e-{exponent}" if exponent else "")
    assert ANY_NUMBER(text)
    assert ANY_INTEGER(text) == (text == str(whole))


@share(60)
@given(st.text("0123456789+-.eE", max_size=7))
def test_what_is_a_number(text: str) -> None:
    assume(not text.lower().partition("e")[2].lstrip("+-")[2:])
    assert ANY_NUMBER(text) == is_instance({"type": "number"}, text)
    assert not ANY_NUMBER("1" * (MOST_DIGITS + 1))
    assert not ANY_NUMBER("1." + "1" * (MOST_DIGITS + 1))
