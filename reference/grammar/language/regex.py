"""Regular expressions, as Python's `re` reads them, less what is no set of texts (references back,
looking around, possessive groups, word boundaries, an anchor in the middle) and less the flags `i`,
`m` and `L`.

Where dialects differ, what all of them match is meant: `\\d`, `\\w` and `\\s` are ASCII; `\\D`,
`\\W` and `\\S`, and what a class leaves out, are what is none in Unicode either; `$` is the very
end; and in a pattern of a schema `.` is no line terminator of ECMAScript.
"""

import re
import warnings
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as sre  # type: ignore[attr-defined]
from typing import Any

from reference.grammar.language.char_ranges import LAST, Ranges, subtract
from reference.grammar.language.errors import RegexError
from reference.grammar.language.expressions import (
    ANY,
    EMPTY,
    Chars,
    Expression,
    chars,
    either,
    literal,
    optional,
    repeat,
    sequence,
    weight,
)

LONGEST = 10_000  # characters of a pattern
MOST_TIMES = 100_000  # that one character may be asked for
MOST_CHARACTERS = 2_000  # that a repeated group may come to
MOST_NESTED = 50  # groups in each other

ANYTHING = repeat(ANY)
LINES: Ranges = ((10, 10),)
ECMA_LINES: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
LINE_END = optional(literal("\n"))
REFUSED_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.LOCALE: "L"}
STARTS = [(op.AT, op.AT_BEGINNING), (op.AT, op.AT_BEGINNING_STRING)]
ENDS = [(op.AT, op.AT_END), (op.AT, op.AT_END_STRING)]

NARROW: dict[Any, Ranges] = {
    op.CATEGORY_DIGIT: ((0x30, 0x39),),
    op.CATEGORY_WORD: ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    op.CATEGORY_SPACE: ((0x09, 0x0D), (0x20, 0x20)),
}
WIDE: dict[Any, Callable[[str], bool]] = {
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_WORD: lambda c: c.isalnum() or c == "_",
    op.CATEGORY_SPACE: lambda c: c.isspace() or c == "\ufeff",
}
NEGATED = {
    op.CATEGORY_NOT_DIGIT: op.CATEGORY_DIGIT,
    op.CATEGORY_NOT_WORD: op.CATEGORY_WORD,
    op.CATEGORY_NOT_SPACE: op.CATEGORY_SPACE,
}


@lru_cache(1024)
def compile_regex(pattern: str, *, anywhere: bool = False, wide: bool = False) -> Expression:
    """The texts that a pattern matches as a whole or, if `anywhere`, in some part (as `re.search`).

    wide: all that match in some dialect, instead of those that match in all. Raises RegexError.
    """
    if len(pattern) > LONGEST:
        raise RegexError(f"{len(pattern)} characters are more than {LONGEST}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what `[[` may mean one day
            tree = sre.parse(pattern)
        return Reader(tree.state.flags, anywhere, wide).read(tree, True, True)
    except RegexError:
        raise
    except (re.error, OverflowError, ValueError) as error:
        raise RegexError(f"no regular expression: {error}") from error
    except RecursionError:
        raise RegexError("the pattern is nested too deeply") from None


class Reader:
    """Turns `re`'s tree into an expression. opens, closes: whether nothing stands before a part, or
    after it: there an anchor holds, and whatever else is there may have anything around it, if the
    match may be anywhere. depth: how many groups it is in.
    """

    def __init__(self, flags: int, anywhere: bool, wide: bool, depth: int = 0) -> None:
        self.flags, self.anywhere, self.wide, self.depth = flags, anywhere, wide, depth
        for flag, name in REFUSED_FLAGS.items():
            if flags & flag:
                raise RegexError(f"the flag {name!r} is not supported")
        if depth > MOST_NESTED:
            raise RegexError(f"groups are nested more than {MOST_NESTED} deep")

    def inside(self, more: int = 0, less: int = 0) -> "Reader":
        """The reader of a group, which may change the flags."""
        flags = (self.flags | more) & ~less
        return Reader(flags, self.anywhere, self.wide, self.depth + 1)

    def read(self, tree: Any, opens: bool, closes: bool) -> Expression:
        items = list(tree)
        if opens and items and items[0] in STARTS:
            items, opens = items[1:], False
        end: Expression = EMPTY
        if closes and items and items[-1] in ENDS:
            end = LINE_END if self.wide and items[-1] == ENDS[0] else EMPTY
            items, closes = items[:-1], False
        last = len(items) - 1
        parts = [
            self._part(kind, value, opens and i == 0, closes and i == last)
            for i, (kind, value) in enumerate(items)
        ]
        return sequence([*(parts or [self._around(EMPTY, opens, closes)]), end])

    def _around(self, part: Expression, opens: bool, closes: bool) -> Expression:
        before, after = self.anywhere and opens, self.anywhere and closes
        return sequence([ANYTHING if before else EMPTY, part, ANYTHING if after else EMPTY])

    def _part(self, kind: Any, value: Any, opens: bool, closes: bool) -> Expression:
        if kind is op.BRANCH:
            return either([self.inside().read(branch, opens, closes) for branch in value[1]])
        if kind is op.SUBPATTERN:
            _, more, less, tree = value
            return self.inside(more, less).read(tree, opens, closes)
        return self._around(self._single(kind, value), opens, closes)

    def _single(self, kind: Any, value: Any) -> Expression:
        if kind is op.LITERAL:
            return chars([(value, value)])
        if kind is op.NOT_LITERAL:
            return chars(subtract([(0, LAST)], [(value, value)]))
        if kind is op.ANY:
            terminators = ECMA_LINES if self.anywhere and not self.wide else LINES
            return ANY if self.flags & re.DOTALL else chars(subtract([(0, LAST)], terminators))
        if kind is op.IN:
            return chars(members(value, self.wide))
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self._repeat(*value)
        raise RegexError(f"{NAMES.get(kind, str(kind).lower())} is not supported")

    def _repeat(self, least: int, most: Any, tree: Any) -> Expression:
        body = self.inside().read(tree, False, False)
        limit = None if most is op.MAXREPEAT else int(most)
        times = max(least, limit or 0)
        bound = MOST_TIMES if isinstance(body, Chars) else MOST_CHARACTERS
        if times * weight(body) > bound:
            raise RegexError(f"{times} times is too often")
        return repeat(body, least, limit)


NAMES = {
    op.AT: "an anchor in the middle, or a word boundary,",
    op.ASSERT: "looking ahead or behind",
    op.ASSERT_NOT: "looking ahead or behind",
    op.GROUPREF: "a reference to a group",
    op.GROUPREF_EXISTS: "a condition on a group",
}


def members(items: Iterable[Any], wide: bool) -> Ranges:
    """The characters of a class."""
    items = list(items)
    negated = bool(items) and items[0] == (op.NEGATE, None)
    found: list[tuple[int, int]] = []
    for kind, value in items[negated:]:
        if kind is op.LITERAL:
            found.append((value, value))
        elif kind is op.RANGE:
            found.append(value)
        else:
            found += category(value, wide=negated != wide)
    return subtract([(0, LAST)], sorted(found)) if negated else tuple(sorted(found))


def category(name: Any, *, wide: bool) -> Ranges:
    """wide: all that some dialect counts among it, not only what every dialect does."""
    if name in NEGATED:
        return subtract([(0, LAST)], category(NEGATED[name], wide=not wide))
    return tuple(sorted({*of_unicode(name), *NARROW[name]})) if wide else NARROW[name]


@cache
def of_unicode(name: Any) -> Ranges:
    """The characters of which Python's Unicode says that they belong to a category."""
    belongs = WIDE[name]
    found: list[tuple[int, int]] = []
    for code in range(LAST + 1):
        if belongs(chr(code)):
            if found and found[-1][1] == code - 1:
                found[-1] = (found[-1][0], code)
            else:
                found.append((code, code))
    return tuple(found)
