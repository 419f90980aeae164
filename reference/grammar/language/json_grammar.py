"""JSON as it is written: RFC 8259, and within it what every reader reads alike.

White space: at most 8 characters in a row, so that no model can go on with it for ever.
Strings:     no half of a surrogate pair. A string that is free may be written in every way; one
             that a schema says something about, with each character in one way only.
Numbers:     at most 200 digits before the point, 200 after it and 2 in the exponent: they end, and
             none is too large or too small for a float.
Objects:     a name may come twice: no grammar can forbid it.
"""

import json
from decimal import Decimal
from typing import Any

from reference.grammar.language.char_ranges import LAST, subtract
from reference.grammar.language.expressions import (
    NOTHING,
    Both,
    Chars,
    Expression,
    Language,
    Or,
    Other,
    Repeat,
    Then,
    both,
    but_not,
    chars,
    either,
    literal,
    optional,
    other,
    reference,
    repeat,
    sequence,
    spine,
    then,
    token,
)

MOST_SPACE = 8
MOST_DIGITS = 200
MOST_EXPONENT = 2

BLANK = chars([(ord(c), ord(c)) for c in " \t\n\r"])
SPACE = optional(token(repeat(BLANK, 1, MOST_SPACE)))
# White space of which the first space, if it begins with one, does not count.
LEADING = either([then(literal(" "), repeat(BLANK, 0, MOST_SPACE)), repeat(BLANK, 1, MOST_SPACE)])

DIGIT = chars([(ord("0"), ord("9"))])
NON_ZERO = chars([(ord("1"), ord("9"))])
WHOLE = either([literal("0"), then(NON_ZERO, repeat(DIGIT, 0, MOST_DIGITS - 1))])
FRACTION = then(literal("."), repeat(DIGIT, 1, MOST_DIGITS))
SIGN = chars([(ord(c), ord(c)) for c in "+-"])
MARK = chars([(ord(c), ord(c)) for c in "eE"])
EXPONENT = sequence([MARK, optional(SIGN), repeat(DIGIT, 1, MOST_EXPONENT)])
NUMBER = sequence([optional(literal("-")), WHOLE, optional(FRACTION), optional(EXPONENT)])

QUOTE = literal('"')
SHORT = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
CONTROLS = (0x00, 0x1F)
MUST_ESCAPE = (CONTROLS, (ord('"'), ord('"')), (ord("\\"), ord("\\")))


def hex_digits(code: int) -> Expression:
    """`\\uXXXX` of one code, in either case."""
    cases = [either([literal(d), literal(d.upper())]) for d in f"{code:04x}"]
    return sequence([literal("\\u"), *cases])


def one_of(letters: str) -> Expression:
    return chars([(ord(c), ord(c)) for c in letters])


def escapes() -> Expression:
    """`\\n`, `\\/`, `\\u00e9`, `\\ud83d\\ude00`."""
    x = one_of("0123456789abcdefABCDEF")
    basic = either(
        [
            sequence([one_of("0123456789abcefABCEF"), x, x, x]),
            sequence([one_of("dD"), one_of("01234567"), x, x]),
        ]
    )
    high = sequence([one_of("dD"), one_of("89abAB"), x, x])
    low = sequence([one_of("dD"), one_of("cdefCDEF"), x, x])
    pair = sequence([literal("u"), high, literal("\\u"), low])
    return then(literal("\\"), either([one_of('"\\/bfnrt'), then(literal("u"), basic), pair]))


CHARACTER = either([chars(subtract([(0, LAST)], MUST_ESCAPE)), escapes()])


def free_string(least: int = 0, most: int | None = None) -> Expression:
    """A string of so many characters, however they are written."""
    return sequence([QUOTE, repeat(CHARACTER, least, most), QUOTE])


def string_of(content: Expression) -> Expression:
    """The strings whose text is in a set, each character written in one way: as it is, or if that
    cannot be, as `\\n` and the like, or as `\\u001f`.
    """
    return sequence([QUOTE, quoted(content), QUOTE])


def quoted(content: Expression) -> Expression:
    match content:
        case Chars(ranges=ranges):
            plain = chars(subtract(ranges, MUST_ESCAPE))
            escaped = [
                escape(code)
                for low, high in MUST_ESCAPE
                for code in range(low, high + 1)
                if any(a <= code <= b for a, b in ranges)
            ]
            return either([plain, *escaped])
        case Then():
            return sequence([quoted(part) for part in spine(content)])
        case Or(options=options):
            return either([quoted(option) for option in options])
        case Repeat(body=body, least=least, most=most):
            return repeat(quoted(body), least, most)
        case Both(one=one, two=two):
            return both(quoted(one), quoted(two))
        case Other(body=body):
            return other(quoted(body))
        case _:
            return content


def escape(code: int) -> Expression:
    short = SHORT.get(chr(code))
    return literal(f"\\{short}" if short else f"\\u{code:04x}")


def every_spelling(text: str) -> Expression:
    """A string with this text, in every way to write it."""
    return sequence([QUOTE, *(spellings(c) for c in text), QUOTE])


def spellings(character: str) -> Expression:
    code = ord(character)
    units = character.encode("utf-16-be", "surrogatepass")
    hexed = sequence(
        [hex_digits(int.from_bytes(units[i : i + 2], "big")) for i in range(0, len(units), 2)]
    )
    plain = chars(subtract([(code, code)], MUST_ESCAPE))
    short = "/" if character == "/" else SHORT.get(character)
    return either([plain, hexed, literal(f"\\{short}") if short else NOTHING])


def name_but(taken: list[str]) -> Expression:
    """A free string that is none of these names."""
    return but_not(free_string(), either([every_spelling(name) for name in taken]))


def pair(name: Expression, value: Expression) -> Expression:
    return sequence([token(name), SPACE, token(literal(":")), SPACE, value])


COMMA = sequence([SPACE, token(literal(",")), SPACE])


def some(item: Expression, least: int = 1, most: int | None = None) -> Expression:
    """One item or more, with commas between them."""
    rest = repeat(then(COMMA, item), max(0, least - 1), None if most is None else most - 1)
    return NOTHING if most == 0 else then(item, rest)


def enclosed(left: str, content: Expression, right: str, *, may_be_empty: bool) -> Expression:
    """Brackets around something, or around nothing but white space."""
    inside = then(content, SPACE)
    inside = optional(inside) if may_be_empty else inside
    return sequence([token(literal(left)), SPACE, inside, token(literal(right))])


VALUE, OBJECT = reference("value"), reference("object")

RULES = {
    "value": either(
        [
            *(token(literal(word)) for word in ("null", "true", "false")),
            token(NUMBER),
            token(free_string()),
            reference("array"),
            OBJECT,
        ]
    ),
    "array": enclosed("[", some(VALUE), "]", may_be_empty=True),
    "object": enclosed("{", some(pair(free_string(), VALUE)), "}", may_be_empty=True),
}


def whole_text(value: Expression) -> Expression:
    """White space may come first: many a token begins with a space. None comes last: what is
    whole is whole.
    """
    return then(SPACE, value)


JSON_OBJECT = Language(whole_text(OBJECT), RULES)


def canonical(value: Any) -> Expression:
    """One JSON value, with the white space that may be in it."""
    match value:
        case dict():
            pairs = [pair(string_of(literal(k)), canonical(v)) for k, v in value.items()]
            return enclosed("{", joined(pairs), "}", may_be_empty=not value)
        case list():
            items = joined([canonical(v) for v in value])
            return enclosed("[", items, "]", may_be_empty=not value)
        case str():
            return token(string_of(literal(value)))
        case bool() | None:
            return token(literal(json.dumps(value)))
        case _:
            return token(literal(number_text(value)))


def joined(items: list[Expression]) -> Expression:
    """NOTHING if there are none."""
    if not items:
        return NOTHING
    return sequence([then(COMMA, item) if i else item for i, item in enumerate(items)])


def number_text(value: int | float) -> str:
    """Digits, without an exponent, and without a point for a whole number."""
    whole = isinstance(value, int) or value.is_integer()
    return str(int(value)) if whole else format(Decimal(repr(value)), "f")
