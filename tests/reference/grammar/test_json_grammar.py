"""The JSON grammar, compared with the `json` module."""

import json
import re
from random import Random
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from conformance.fixtures import format_corpus
from conformance.parity.format_strategies import randoms, schemas
from conformance.parity.format_strategies import schema as random_schema
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import EMPTY_SET, Language
from reference.grammar.language.json_grammar import JSON_OBJECT, MAX_WHITESPACE, canonical_value
from reference.grammar.response_format import UnsupportedFormat, compile_format
from tests.support.hypothesis_budget import example_budget
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
    language = compile_format(format_corpus.json_schema_format(schema))
    assert language is not None
    return Derivatives(language)


ANY_JSON = accepting(True)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(depth, inner)) if inner else 0


def accepted(text: str, value: Any) -> bool:
    is_accepted = ANY_JSON.accepts(text.encode())
    assert OBJECTS.accepts(text.encode()) == (is_accepted and isinstance(value, dict))
    return is_accepted


@example_budget(60)
@given(
    VALUES,
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :\r\n")]),
    st.one_of(st.none(), st.integers(0, INDENT)),
    st.booleans(),
)
def test_json_dumps_output(
    value: Any, separators: tuple[str, str], indent: int | None, ascii_only: bool
) -> None:
    """Indentation fits if a line break and the spaces of the deepest level do."""
    if indent is not None:
        separators = separators[0].rstrip(" \t"), separators[1]
    text = json.dumps(value, separators=separators, indent=indent, ensure_ascii=ascii_only)
    fits = indent is None or 1 + indent * depth(value) <= MAX_WHITESPACE
    assert accepted(text, value) == fits
    assert not ANY_JSON.accepts(text.encode() + b" ")


def test_white_space() -> None:
    for before, inside in [
        (0, 0),
        (MAX_WHITESPACE, MAX_WHITESPACE),
        (MAX_WHITESPACE + 1, 0),
        (0, 9),
    ]:
        text = " " * before + "{" + "\n" * inside + '"a"' + "\t" * inside + ":" + "\r" * inside
        text += "[" + " " * inside + "1" + " " * inside + "," + " " * inside + "2]}"
        assert OBJECTS.accepts(text.encode()) == (max(before, inside) <= MAX_WHITESPACE)
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
EDITS = st.tuples(
    st.integers(0, 60), st.integers(0, 1), st.sampled_from([*'{}[]:,"\\-+.0eE1tn /\x01u', ""])
)


@example_budget(300)
@given(SIMPLE, EDITS)
@example(0, (0, 0, "-"))
def test_single_edit_is_accepted_iff_valid(value: Any, edit: tuple[int, int, str]) -> None:
    """One character is inserted, replaced or deleted."""
    position, length, inserted = edit
    text = json.dumps(value, ensure_ascii=False)
    text = text[:position] + inserted + text[position + length :]
    try:
        correct = bool(json.dumps(loads(text), ensure_ascii=False).encode())
    except ValueError:
        correct = False
    assert ANY_JSON.accepts(text.encode()) == (correct and text == text.rstrip(" "))


ESCAPES = st.sampled_from(["\\ud800", "\\uDC00", "\\udfff", "\\uDBFF", "\\u0041", "x", "\\\\"])


@given(st.lists(ESCAPES, max_size=5).map("".join))
def test_lone_surrogates_are_rejected(content: str) -> None:
    text = f'"{content}"'
    try:
        correct = bool(loads(text).encode()) or not content
    except UnicodeEncodeError:
        correct = False
    assert ANY_JSON.accepts(text.encode()) == correct


@example_budget(80)
@given(VALUES, VALUES)
def test_canonical(value: Any, another: Any) -> None:
    """A constant accepts only texts of that value."""
    constant = accepting({"const": value})
    assert Derivatives(Language(canonical_value(value))).language.start is not EMPTY_SET
    plain = re.compile(r"^-?\d+(\.\d+)?$")
    for candidate in value, another:
        text = json.dumps(candidate, ensure_ascii=False)
        is_plain_integer = isinstance(candidate, int) and plain.match(text)
        if constant.accepts(text.encode()):
            assert is_instance({"const": value}, text)
        elif isinstance(candidate, str | bool | None) or is_plain_integer:
            assert not is_instance({"const": value}, text)


@example_budget(60)
@given(st.text(max_size=4), st.integers(0, 4), st.integers(0, 3), st.booleans())
@example("😀\n", 2, 0, True)
def test_length_counts_characters(
    content: str, min_length: int, span: int, ascii_only: bool
) -> None:
    """An escaped character counts once."""
    schema = {"type": "string", "minLength": min_length, "maxLength": min_length + span}
    text = json.dumps(content, ensure_ascii=ascii_only)
    assert accepting(schema).accepts(text.encode()) == is_instance(schema, text)


def spelled(rng: Random, character: str) -> str:
    """Spell a character in one of the possible ways."""
    spellings = [json.dumps(character)[1:-1], json.dumps(character, ensure_ascii=False)[1:-1]]
    if ord(character) < 0x10000:
        spellings.append(f"\\u{ord(character):04X}")
    return rng.choice([*spellings, "\\/"] if character == "/" else spellings)


@example_budget(80)
@given(
    st.lists(st.text('aé/"\\\n😀', max_size=2), min_size=1, max_size=3),
    st.text('aé/"\\\n😀', max_size=2),
    randoms(),
)
def test_additional_names_exclude_listed_names(names: list[str], name: str, rng: Random) -> None:
    """Names are compared by value, in any spelling."""
    fields = {"properties": dict.fromkeys(names, False), "additionalProperties": {"type": "null"}}
    text = "{" + '"' + "".join(spelled(rng, c) for c in name) + '"' + ":null}"
    assert loads(text) == {name: None}
    derivatives = accepting({"type": "object", **fields})
    assert derivatives.accepts(text.encode()) == (name not in names)


@example_budget(60)
@given(schemas(), VALUES)
def test_accepted_texts_are_instances(schema: Any, value: Any) -> None:
    """Most random values are not instances."""
    try:
        derivatives = accepting(schema)
    except UnsupportedFormat:
        return
    for text in json.dumps(value), json.dumps(value, ensure_ascii=False):
        if derivatives.accepts(text.encode()):
            assert is_instance(schema, text)


def test_random_schemas_are_reproducible() -> None:
    assert [random_schema(Random(i)) for i in range(9)] == [
        random_schema(Random(i)) for i in range(9)
    ]
