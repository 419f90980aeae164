"""JSON as it is written, against `json`."""

import json
import re
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from conformance.fixtures import format_corpus
from conformance.parity.format_strategies import chance, schema, schemas
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import NOTHING, Language
from reference.grammar.language.json_grammar import JSON_OBJECT, MOST_SPACE, canonical
from reference.grammar.response_format import UnsupportedFormat, compile_format
from tests.support.hypothesis_budget import share
from tests.support.jsonschema_oracle import is_instance, loads

INDENT = 4
OBJECTS = Derivatives(JSON_OBJECT)
NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.integers(-(2**70), 2**70).map(float))
NUMBERS |= st.sampled_from([0.1, -0.0, 1e99, 1e-99, 2.5, -1e16, 123456.789, 5e-324 + 1e-9])
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=6))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def accepting(schema: Any) -> Derivatives:
    language = compile_format(format_corpus.of_schema(schema))
    assert language is not None
    return Derivatives(language)


ANYTHING = accepting(True)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(depth, inner)) if inner else 0


def accepted(text: str, value: Any) -> bool:
    found = ANYTHING.accepts(text.encode())
    assert OBJECTS.accepts(text.encode()) == (found and isinstance(value, dict))
    return found


@share(60)
@given(
    VALUES,
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\r\n")]),
    st.one_of(st.none(), st.integers(0, INDENT)),
    st.booleans(),
)
def test_any_value(
    value: Any, separators: tuple[str, str], indent: int | None, ascii_only: bool
) -> None:
    """As deep as white space may go: a line break and the spaces of every level."""
    if indent is not None:
        separators = separators[0].rstrip(" \t"), separators[1]
    text = json.dumps(value, separators=separators, indent=indent, ensure_ascii=ascii_only)
    fits = indent is None or 1 + indent * depth(value) <= MOST_SPACE
    assert accepted(text, value) == fits
    assert not ANYTHING.accepts(text.encode() + b" ")


def test_white_space() -> None:
    for before, inside in [(0, 0), (MOST_SPACE, MOST_SPACE), (MOST_SPACE + 1, 0), (0, 9)]:
        text = " " * before + "{" + "\n" * inside + '"a"' + "\t" * inside + ":" + "\r" * inside
        text += "[" + " " * inside + "1" + " " * inside + "," + " " * inside + "2]}"
        assert OBJECTS.accepts(text.encode()) == (max(before, inside) <= MOST_SPACE)
    assert not OBJECTS.accepts("\u00a0{}".encode())
    assert not OBJECTS.accepts("\ufeff{}".encode())


SIMPLE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.sampled_from([0.5, -1.2])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["", "a", "é", '"', "\n\\"]), inner, max_size=3),
    ),
    max_leaves=6,
)
STROKES = st.tuples(
    st.integers(0, 60), st.integers(0, 1), st.sampled_from([*'{}[]:,"\\-+.0eE1tn /\x01u', ""])
)


@share(300)
@given(SIMPLE, STROKES)
@example(0, (0, 0, "-"))
def test_what_is_json_after_one_stroke(value: Any, stroke: tuple[int, int, str]) -> None:
    """Put in somewhere, or in the place of something."""
    place, length, instead = stroke
    text = json.dumps(value, ensure_ascii=False)
    text = text[:place] + instead + text[place + length :]
    try:
        correct = bool(json.dumps(loads(text), ensure_ascii=False).encode())
    except ValueError:
        correct = False
    assert ANYTHING.accepts(text.encode()) == (correct and text == text.rstrip(" "))


SURROGATES = st.sampled_from(["\\ud800", "\\uDC00", "\\udfff", "\\uDBFF", "\\u0041", "x", "\\\\"])


@given(st.lists(SURROGATES, max_size=5).map("".join))
def test_no_half_of_a_pair(content: str) -> None:
    text = f'"{content}"'
    try:
        correct = bool(loads(text).encode()) or not content
    except UnicodeEncodeError:
        correct = False
    assert ANYTHING.accepts(text.encode()) == correct


@share(80)
@given(VALUES, VALUES)
def test_canonical(value: Any, another: Any) -> None:
    """A constant is read back as itself, and as nothing else."""
    found = accepting({"const": value})
    assert Derivatives(Language(canonical(value))).language.start is not NOTHING
    plain = re.compile(r"^-?\d+(\.\d+)?$")
    for other in value, another:
        text = json.dumps(other, ensure_ascii=False)
        if found.accepts(text.encode()):
            assert is_instance({"const": value}, text)
        elif isinstance(other, str | bool | None) or (isinstance(other, int) and plain.match(text)):
            assert not is_instance({"const": value}, text)


@share(60)
@given(st.text(max_size=4), st.integers(0, 4), st.integers(0, 3), st.booleans())
@example("😀\n", 2, 0, True)
def test_length(content: str, least: int, more: int, ascii_only: bool) -> None:
    """In characters, however each is written."""
    asked = {"type": "string", "minLength": least, "maxLength": least + more}
    text = json.dumps(content, ensure_ascii=ascii_only)
    assert accepting(asked).accepts(text.encode()) == is_instance(asked, text)


def spelled(rng: Random, character: str) -> str:
    """One of the ways to write a character."""
    ways = [json.dumps(character)[1:-1], json.dumps(character, ensure_ascii=False)[1:-1]]
    if ord(character) < 0x10000:
        ways.append(f"\\u{ord(character):04X}")
    return rng.choice([*ways, "\\/"] if character == "/" else ways)


@share(80)
@given(
    st.lists(st.text('aé/"\\\n😀', max_size=2), min_size=1, max_size=3),
    st.text('aé/"\\\n😀', max_size=2),
    chance(),
)
def test_other_names_are_none_of_those_listed(names: list[str], name: str, rng: Random) -> None:
    """However they are written."""
    asked = {"properties": dict.fromkeys(names, False), "additionalProperties": {"type": "null"}}
    text = "{" + '"' + "".join(spelled(rng, c) for c in name) + '"' + ":null}"
    assert loads(text) == {name: None}
    found = accepting({"type": "object", **asked})
    assert found.accepts(text.encode()) == (name not in names)


@share(60)
@given(schemas(), VALUES)
def test_what_is_accepted_is_an_instance(asked: Any, value: Any) -> None:
    """Of any value, which seldom is one."""
    try:
        found = accepting(asked)
    except UnsupportedFormat:
        return
    for text in json.dumps(value), json.dumps(value, ensure_ascii=False):
        if found.accepts(text.encode()):
            assert is_instance(asked, text)


def test_a_schema_by_chance_is_the_same_each_time() -> None:
    assert [schema(Random(i)) for i in range(9)] == [schema(Random(i)) for i in range(9)]
