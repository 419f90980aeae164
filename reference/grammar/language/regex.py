"""Regular expressions in the syntax of Python's `re`.

Not supported, because they do not denote a set of texts or dialects disagree: backreferences,
lookbehind, possessive groups, word boundaries, anchors inside a pattern, and the flags `i`, `m` and
`L`. A lookahead is supported where all that follows it is known: outside of groups that are
repeated or that other items follow.

Where dialects differ, a pattern matches only the texts that it matches in all of them: `\\d`, `\\w`
and `\\s` are ASCII; `\\D`, `\\W`, `\\S` and negated classes also exclude the Unicode characters of
the category; `$` matches only at the very end; and in a schema's pattern `.` excludes all line
terminators of ECMAScript.
"""

import re
import warnings
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as sre  # type: ignore[attr-defined]
from typing import Any

from reference.grammar.language.char_ranges import MAX_CODE_POINT, Ranges, subtract_ranges
from reference.grammar.language.errors import RegexError
from reference.grammar.language.expressions import (
    ANY_CHAR,
    EMPTY_SET,
    EPSILON,
    chars,
    concat,
    concat_all,
    difference,
    intersect,
    literal,
    optional,
    repeat,
    union,
)
from reference.grammar.language.nodes import Chars, Expression, expanded_length

MAX_PATTERN_LENGTH = 10_000  # characters
MAX_CHAR_REPEATS = 100_000  # repetitions of one character
MAX_GROUP_LENGTH = 2_000  # characters of a repeated group, written out
MAX_NESTING = 50  # depth of groups

ALL_CHARS = [(0, MAX_CODE_POINT)]
ANY_TEXT = repeat(ANY_CHAR)
LINE_FEED: Ranges = ((10, 10),)
ECMA_LINE_TERMINATORS: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
OPTIONAL_LINE_FEED = optional(literal("\n"))
REFUSED_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.LOCALE: "L"}
START_ANCHORS = [(op.AT, op.AT_BEGINNING), (op.AT, op.AT_BEGINNING_STRING)]
END_ANCHORS = [(op.AT, op.AT_END), (op.AT, op.AT_END_STRING)]

ASCII_CATEGORIES: dict[Any, Ranges] = {
    op.CATEGORY_DIGIT: ((0x30, 0x39),),
    op.CATEGORY_WORD: ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    op.CATEGORY_SPACE: ((0x09, 0x0D), (0x20, 0x20)),
}
UNICODE_CATEGORIES: dict[Any, Callable[[str], bool]] = {
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
def compile_regex(pattern: str, *, anywhere: bool = False, superset: bool = False) -> Expression:
    """Return the texts that a pattern matches as a whole or, if `anywhere`, in some part (as
    `re.search`).

    superset: the texts that match in any dialect, instead of those that match in all. Raises
    RegexError.
    """
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise RegexError(
            f"the pattern has {len(pattern)} characters, at most {MAX_PATTERN_LENGTH} are allowed"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # `[[` may become a nested set
            tree = sre.parse(pattern)
        compiler = RegexCompiler(tree.state.flags, anywhere, superset)
        around = ANY_TEXT if anywhere else EPSILON
        return compiler.compile(tree, around, around)
    except RegexError:
        raise
    except (re.error, OverflowError, ValueError) as error:
        raise RegexError(f"not a valid regular expression: {error}") from error
    except RecursionError:
        raise RegexError("the pattern is nested too deeply") from None


class RegexCompiler:
    """Compiles the syntax tree of `re` to an expression.

    anywhere: whether it is the pattern of a schema, which matches in some part of a text. superset:
    whether the texts may match in any dialect, instead of in all. depth: how many groups enclose
    it.
    """

    def __init__(self, flags: int, anywhere: bool, superset: bool, depth: int = 0) -> None:
        self.flags, self.anywhere, self.superset, self.depth = flags, anywhere, superset, depth
        for flag, name in REFUSED_FLAGS.items():
            if flags & flag:
                raise RegexError(f"the flag {name!r} is not supported")
        if depth > MAX_NESTING:
            raise RegexError(f"groups are nested more than {MAX_NESTING} deep")

    def nested(self, added_flags: int = 0, removed_flags: int = 0) -> "RegexCompiler":
        """Return the compiler of a group, which may change the flags."""
        flags = (self.flags | added_flags) & ~removed_flags
        return RegexCompiler(flags, self.anywhere, self.superset, self.depth + 1)

    def compile(self, tree: Any, before: Expression | None, after: Expression | None) -> Expression:
        """Compile a sequence of items, with the texts that may precede and follow it.

        before, after: these texts where the sequence is at that end of the pattern, else None. Only
        there are anchors allowed, which exclude such texts.
        """
        items = list(tree)
        if before is not None and items and items[0] in START_ANCHORS:
            items, before = items[1:], EPSILON
        if after is not None and items and items[-1] in END_ANCHORS:
            # In Python, `$` also matches before a final line feed.
            dollar = items[-1] == END_ANCHORS[0]
            after = OPTIONAL_LINE_FEED if self.superset and dollar else EPSILON
            items = items[:-1]
        if not items or (is_lookaround(items[0]) and before not in (None, EPSILON)):
            rest = self._sequence(items, None, after) if items else after or EPSILON
            return concat(before or EPSILON, rest)
        return self._sequence(items, before, after)

    def _sequence(
        self, items: list[Any], before: Expression | None, after: Expression | None
    ) -> Expression:
        """Compile items without anchors, from the last to the first."""
        first = next((i for i, item in enumerate(items) if not is_lookaround(item)), len(items))
        last = len(items) - 1
        rest = EPSILON if first <= last and not is_lookaround(items[last]) else after or EPSILON
        for i in range(last, -1, -1):
            kind, value = items[i]
            at_start = before if i <= first else None
            if is_lookaround(items[i]):
                rest = self._lookahead(rest, kind, value, at_start, after)
            else:
                part = self._part(kind, value, at_start, after if i == last else None)
                rest = concat(part, rest)
        return rest

    def _lookahead(
        self,
        rest: Expression,
        kind: Any,
        value: Any,
        before: Expression | None,
        after: Expression | None,
    ) -> Expression:
        """Return the texts of `rest` for which a lookahead holds. `rest` must be all that follows
        the position, since the lookahead may look beyond the group.
        """
        direction, tree = value
        if direction < 0:
            raise RegexError("lookbehind is not supported")
        if after is None:
            message = "a lookahead is supported only outside of groups that other items follow"
            raise RegexError(f"{message}, or that are repeated")
        negative = kind is op.ASSERT_NOT
        superset = self.superset != negative
        compiler = RegexCompiler(self.flags, self.anywhere, superset, self.depth + 1)
        ahead = compiler.compile(tree, before, ANY_TEXT)
        return difference(rest, ahead) if negative else intersect(rest, ahead)

    def _part(
        self, kind: Any, value: Any, before: Expression | None, after: Expression | None
    ) -> Expression:
        if kind is op.BRANCH:
            return union([self.nested().compile(branch, before, after) for branch in value[1]])
        if kind is op.SUBPATTERN:
            _, added_flags, removed_flags, tree = value
            return self.nested(added_flags, removed_flags).compile(tree, before, after)
        return concat_all([before or EPSILON, self._single(kind, value), after or EPSILON])

    def _single(self, kind: Any, value: Any) -> Expression:
        if kind is op.LITERAL:
            return chars([(value, value)])
        if kind is op.NOT_LITERAL:
            return chars(subtract_ranges(ALL_CHARS, [(value, value)]))
        if kind is op.ANY:
            ecma = self.anywhere and not self.superset
            terminators = ECMA_LINE_TERMINATORS if ecma else LINE_FEED
            dot_all = self.flags & re.DOTALL
            return ANY_CHAR if dot_all else chars(subtract_ranges(ALL_CHARS, terminators))
        if kind is op.IN:
            return chars(class_ranges(value, self.superset))
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            return self._repeat(*value)
        if kind is op.FAILURE:  # an empty negative lookahead, `(?!)`
            return EMPTY_SET
        raise RegexError(f"{CONSTRUCT_NAMES.get(kind, str(kind).lower())} is not supported")

    def _repeat(self, min_count: int, max_repeat: Any, tree: Any) -> Expression:
        body = self.nested().compile(tree, None, None)
        max_count = None if max_repeat is op.MAXREPEAT else int(max_repeat)
        count = max(min_count, max_count or 0)
        limit = MAX_CHAR_REPEATS if isinstance(body, Chars) else MAX_GROUP_LENGTH
        length = count * expanded_length(body)
        if length > limit:
            raise RegexError(
                f"{count} repetitions expand to {length} characters, at most {limit} are allowed"
            )
        return repeat(body, min_count, max_count)


def is_lookaround(item: Any) -> bool:
    """Return whether an item is a lookahead or a lookbehind."""
    return item[0] in (op.ASSERT, op.ASSERT_NOT)


CONSTRUCT_NAMES = {
    op.AT: "an anchor inside the pattern or a word boundary",
    op.GROUPREF: "a backreference",
    op.GROUPREF_EXISTS: "a conditional group",
}


def class_ranges(items: Iterable[Any], superset: bool) -> Ranges:
    """Return the characters of a class, such as `[a-z\\d]`."""
    items = list(items)
    negated = bool(items) and items[0] == (op.NEGATE, None)
    ranges: list[tuple[int, int]] = []
    for kind, value in items[negated:]:
        if kind is op.LITERAL:
            ranges.append((value, value))
        elif kind is op.RANGE:
            ranges.append(value)
        else:
            # Excluding more characters keeps a negated class within every dialect.
            ranges += category_ranges(value, superset=negated != superset)
    return subtract_ranges(ALL_CHARS, sorted(ranges)) if negated else tuple(sorted(ranges))


def category_ranges(name: Any, *, superset: bool) -> Ranges:
    """Return the characters of a category, such as `\\d`. superset: in any dialect, not in all."""
    if name in NEGATED:
        return subtract_ranges(ALL_CHARS, category_ranges(NEGATED[name], superset=not superset))
    ascii_ranges = ASCII_CATEGORIES[name]
    return tuple(sorted({*unicode_ranges(name), *ascii_ranges})) if superset else ascii_ranges


@cache
def unicode_ranges(name: Any) -> Ranges:
    """Return the characters that Python's Unicode tables put into a category."""
    belongs = UNICODE_CATEGORIES[name]
    ranges: list[tuple[int, int]] = []
    for code in range(MAX_CODE_POINT + 1):
        if belongs(chr(code)):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    return tuple(ranges)
