"""JSON texts (RFC 8259), restricted to those that all parsers interpret in the same way.

White space: at most 8 characters in a row, so that a model cannot continue it forever.
Strings:     no lone surrogates. An unconstrained string may use any escapes; a string that a schema
             constrains has one spelling per character.
Numbers:     at most 200 digits before the point, 200 after it and 2 in the exponent: numbers end,
             and none overflows a float.
Objects:     a name may repeat, because no grammar can forbid it.
"""

import json
from decimal import Decimal
from functools import lru_cache
from typing import Any

from reference.grammar.language.char_ranges import MAX_CODE_POINT, Ranges, subtract_ranges
from reference.grammar.language.expressions import (
    EMPTY_SET,
    Language,
    chars,
    complement,
    concat,
    concat_all,
    difference,
    intersect,
    literal,
    optional,
    repeat,
    rule_ref,
    token,
    union,
)
from reference.grammar.language.nodes import (
    Alternation,
    Chars,
    Complement,
    Concat,
    Expression,
    Intersection,
    Repeat,
    concat_parts,
)

MAX_WHITESPACE = 8
MAX_DIGITS = 200
MAX_EXPONENT_DIGITS = 2


def char_class(letters: str) -> Expression:
    """One of these characters."""
    return chars([(ord(c), ord(c)) for c in letters])


WHITESPACE_CHAR = char_class(" \t\n\r")
WHITESPACE = optional(token(repeat(WHITESPACE_CHAR, 1, MAX_WHITESPACE)))
# Leading white space before the detokenizer strips one space: it may be one space longer.
UNSTRIPPED_WHITESPACE = union(
    [
        concat(literal(" "), repeat(WHITESPACE_CHAR, 0, MAX_WHITESPACE)),
        repeat(WHITESPACE_CHAR, 1, MAX_WHITESPACE),
    ]
)

DIGIT = chars([(ord("0"), ord("9"))])
NON_ZERO = chars([(ord("1"), ord("9"))])
INTEGER_PART = union([literal("0"), concat(NON_ZERO, repeat(DIGIT, 0, MAX_DIGITS - 1))])
FRACTION = concat(literal("."), repeat(DIGIT, 1, MAX_DIGITS))
EXPONENT = concat_all(
    [char_class("eE"), optional(char_class("+-")), repeat(DIGIT, 1, MAX_EXPONENT_DIGITS)]
)
NUMBER = concat_all([optional(literal("-")), INTEGER_PART, optional(FRACTION), optional(EXPONENT)])

QUOTE = literal('"')
SHORT_ESCAPES = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
CONTROLS = (0x00, 0x1F)
MUST_ESCAPE = (CONTROLS, (ord('"'), ord('"')), (ord("\\"), ord("\\")))


def unicode_escape(code: int) -> Expression:
    """`\\uXXXX` of one UTF-16 code unit, in upper or lower case."""
    digits = [union([literal(d), literal(d.upper())]) for d in f"{code:04x}"]
    return concat_all([literal("\\u"), *digits])


def escape_sequences() -> Expression:
    """Any escape sequence: `\\n`, `\\/`, `\\u00e9`, `\\ud83d\\ude00`."""
    hex_digit = char_class("0123456789abcdefABCDEF")
    not_surrogate = union(
        [
            concat_all([char_class("0123456789abcefABCEF"), *[hex_digit] * 3]),
            concat_all([char_class("dD"), char_class("01234567"), *[hex_digit] * 2]),
        ]
    )
    high = concat_all([char_class("dD"), char_class("89abAB"), *[hex_digit] * 2])
    low = concat_all([char_class("dD"), char_class("cdefCDEF"), *[hex_digit] * 2])
    surrogate_pair = concat_all([literal("u"), high, literal("\\u"), low])
    short = char_class('"\\/bfnrt')
    after_backslash = union([short, concat(literal("u"), not_surrogate), surrogate_pair])
    return concat(literal("\\"), after_backslash)


CHARACTER = union([chars(subtract_ranges([(0, MAX_CODE_POINT)], MUST_ESCAPE)), escape_sequences()])


def any_string(min_length: int = 0, max_length: int | None = None) -> Expression:
    """A JSON string of a number of characters, each in any spelling."""
    return concat_all([QUOTE, repeat(CHARACTER, min_length, max_length), QUOTE])


def canonical_string(content: Expression) -> Expression:
    """The JSON strings whose value is in a set, with one spelling per character: unescaped if
    possible, else the short escape (`\\n`), else `\\u001f`.
    """
    return concat_all([QUOTE, json_escaped(content), QUOTE])


def json_escaped(content: Expression) -> Expression:
    """Replace each character of an expression by its canonical spelling."""
    match content:
        case Chars(ranges=ranges):
            return json_escaped_char(ranges)
        case Concat():
            return concat_all([json_escaped(part) for part in concat_parts(content)])
        case Alternation(options=options):
            return union([json_escaped(option) for option in options])
        case Repeat(body=body, min_count=min_count, max_count=max_count):
            return repeat(json_escaped(body), min_count, max_count)
        case Intersection(left=left, right=right):
            return intersect(json_escaped(left), json_escaped(right))
        case Complement(body=body):
            return complement(json_escaped(body))
        case _:
            return content


@lru_cache(4096)
def json_escaped_char(ranges: Ranges) -> Expression:
    """One character of these ranges in its canonical spelling. Cached: an `enum` may have 100,000
    characters, and few different ones.
    """
    unescaped = chars(subtract_ranges(ranges, MUST_ESCAPE))
    escaped = [
        canonical_escape(code)
        for low, high in MUST_ESCAPE
        for code in range(low, high + 1)
        if any(a <= code <= b for a, b in ranges)
    ]
    return union([unescaped, *escaped])


def canonical_escape(code: int) -> Expression:
    """The short escape of a character if there is one, else `\\u00XX`."""
    short = SHORT_ESCAPES.get(chr(code))
    return literal(f"\\{short}" if short else f"\\u{code:04x}")


def all_escapings(text: str) -> Expression:
    """The JSON strings whose value is this text, in every spelling."""
    return concat_all([QUOTE, *(char_escapings(c) for c in text), QUOTE])


@lru_cache(4096)
def char_escapings(character: str) -> Expression:
    """Every spelling of one character in a JSON string."""
    code = ord(character)
    units = character.encode("utf-16-be", "surrogatepass")
    hexadecimal = concat_all(
        [unicode_escape(int.from_bytes(units[i : i + 2], "big")) for i in range(0, len(units), 2)]
    )
    unescaped = chars(subtract_ranges([(code, code)], MUST_ESCAPE))
    short = "/" if character == "/" else SHORT_ESCAPES.get(character)
    return union([unescaped, hexadecimal, literal(f"\\{short}") if short else EMPTY_SET])


def string_except(excluded: list[str]) -> Expression:
    """Any JSON string whose value is not in a list."""
    return difference(any_string(), union([all_escapings(name) for name in excluded]))


def object_member(name: Expression, value: Expression) -> Expression:
    """A name, a colon and a value."""
    return concat_all([token(name), WHITESPACE, token(literal(":")), WHITESPACE, value])


COMMA = concat_all([WHITESPACE, token(literal(",")), WHITESPACE])


def comma_separated(
    item: Expression, min_count: int = 1, max_count: int | None = None
) -> Expression:
    """One item or more, with commas between them."""
    max_rest = None if max_count is None else max_count - 1
    rest = repeat(concat(COMMA, item), max(0, min_count - 1), max_rest)
    return EMPTY_SET if max_count == 0 else concat(item, rest)


def enclosed(left: str, content: Expression, right: str, *, may_be_empty: bool) -> Expression:
    """Brackets around the content or, if `may_be_empty`, around white space alone."""
    inside = concat(content, WHITESPACE)
    inside = optional(inside) if may_be_empty else inside
    return concat_all([token(literal(left)), WHITESPACE, inside, token(literal(right))])


VALUE, OBJECT = rule_ref("value"), rule_ref("object")

RULES = {
    "value": union(
        [
            *(token(literal(word)) for word in ("null", "true", "false")),
            token(NUMBER),
            token(any_string()),
            rule_ref("array"),
            OBJECT,
        ]
    ),
    "array": enclosed("[", comma_separated(VALUE), "]", may_be_empty=True),
    "object": enclosed(
        "{", comma_separated(object_member(any_string(), VALUE)), "}", may_be_empty=True
    ),
}


def with_leading_whitespace(value: Expression) -> Expression:
    """A value after optional white space, since many tokens begin with a space. No white space
    follows: a complete value ends the text.
    """
    return concat(WHITESPACE, value)


JSON_OBJECT = Language(with_leading_whitespace(OBJECT), RULES)


def canonical_value(value: Any) -> Expression:
    """One JSON value in its canonical spelling, with optional white space between its tokens."""
    match value:
        case dict():
            members = [
                object_member(literal(canonical_scalar(k)), canonical_value(v))
                for k, v in value.items()
            ]
            return enclosed("{", join_with_commas(members), "}", may_be_empty=not value)
        case list():
            items = join_with_commas([canonical_value(v) for v in value])
            return enclosed("[", items, "]", may_be_empty=not value)
        case str() | bool() | None:
            return token(literal(canonical_scalar(value)))
        case _:
            return token(literal(canonical_number(value)))


def join_with_commas(items: list[Expression]) -> Expression:
    """Join items with commas; EMPTY_SET if there are none."""
    if not items:
        return EMPTY_SET
    return concat_all([concat(COMMA, item) if i else item for i, item in enumerate(items)])


def canonical_scalar(value: str | bool | None) -> str:
    """Format a string with the spelling of `canonical_string`, or a word."""
    return json.dumps(value, ensure_ascii=False)


def canonical_number(value: int | float) -> str:
    """Format a number without an exponent, and an integral value without a decimal point."""
    integral = isinstance(value, int) or value.is_integer()
    return str(int(value)) if integral else format(Decimal(repr(value)), "f")
