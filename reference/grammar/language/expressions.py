"""Functions that build expressions, and `Language`: an expression with named rules.

The functions simplify. Equal expressions are one object, so they compare by identity, and a set
that is empty by its form is `EMPTY_SET`. An expression with references acts as the stack of a
pushdown automaton: it describes the rest of a text.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from weakref import WeakValueDictionary

from reference.grammar.language.char_ranges import (
    MAX_CODE_POINT,
    SURROGATES,
    merge_ranges,
    subtract_ranges,
)
from reference.grammar.language.nodes import (
    Alternation,
    Chars,
    Complement,
    Concat,
    Epsilon,
    Expression,
    Intersection,
    Ref,
    Repeat,
    Token,
    children,
    concat_parts,
)


@dataclass(frozen=True, eq=False)
class Language:
    """A set of texts: an expression, and the rules that it refers to."""

    start: Expression
    rules: Mapping[str, Expression] = field(default_factory=dict)

    @cached_property
    def reachable(self) -> Mapping[str, Expression]:
        """The rules that `start` refers to, directly or not, in the order of discovery."""
        reached: dict[str, Expression] = {}
        visited: set[Expression] = set()
        pending = [self.start]
        while pending:
            expression = pending.pop()
            if isinstance(expression, Ref) and expression.name not in reached:
                reached[expression.name] = self.rules[expression.name]
                pending.append(reached[expression.name])
            elif expression not in visited:
                visited.add(expression)
                pending.extend(children(expression))
        return reached


EMPTY_SET = Alternation(())
EPSILON = Epsilon()

_interned: WeakValueDictionary[tuple[object, ...], Expression] = WeakValueDictionary()


def interned(key: tuple[object, ...], expression: Expression) -> Expression:
    """Return the live expression of this type and key; if there is none, the given one."""
    return _interned.setdefault((type(expression), *key), expression)


def chars(ranges: Iterable[tuple[int, int]], pending: int = 0) -> Expression:
    """Build one character of ranges that may overlap, in any order. Surrogates are left out."""
    merged = merge_ranges(ranges)
    valid = merged if pending else subtract_ranges(merged, (SURROGATES,))
    return interned((valid, pending), Chars(valid, pending)) if valid else EMPTY_SET


ANY_CHAR = chars([(0, MAX_CODE_POINT)])


@lru_cache(4096)
def character(code: int) -> Expression:
    """Exactly the character with this code point."""
    return chars([(code, code)])


def literal(text: str) -> Expression:
    """Exactly this text."""
    return concat_all([character(ord(c)) for c in text])


def concat(first: Expression, rest: Expression) -> Expression:
    """Concatenate two expressions."""
    if first is EMPTY_SET or rest is EMPTY_SET:
        return EMPTY_SET
    if first is EPSILON:
        return rest
    if rest is EPSILON:
        return first
    if isinstance(first, Concat):
        return concat_all([*concat_parts(first), rest])
    return interned((first, rest), Concat(first, rest))


def concat_all(parts: Iterable[Expression]) -> Expression:
    """Concatenate any number of expressions."""
    whole: Expression = EPSILON
    for part in reversed(list(parts)):
        whole = concat(part, whole)
    return whole


def union(options: Iterable[Expression]) -> Expression:
    """Build an alternation. Single characters are merged, and duplicates are dropped."""
    others: dict[Expression, None] = {}
    merged: dict[int, list[tuple[int, int]]] = {}
    for option in options:
        for part in option.options if isinstance(option, Alternation) else (option,):
            if isinstance(part, Chars):
                merged.setdefault(part.pending, []).extend(part.ranges)
            else:
                others[part] = None
    parts = [chars(ranges, pending) for pending, ranges in merged.items()] + list(others)
    if len(parts) == 1:
        return parts[0]
    return interned((frozenset(parts),), Alternation(tuple(parts))) if parts else EMPTY_SET


def optional(expression: Expression) -> Expression:
    """The expression or the empty text."""
    return expression if expression.nullable else union([expression, EPSILON])


def repeat(body: Expression, min_count: int = 0, max_count: int | None = None) -> Expression:
    """Repeat an expression min_count to max_count times; max_count None: unbounded."""
    if max_count is not None and min_count > max_count:
        return EMPTY_SET
    if body is EMPTY_SET or body is EPSILON or max_count == 0:
        return EMPTY_SET if body is EMPTY_SET and min_count > 0 else EPSILON
    if min_count == max_count == 1:
        return body
    if body.nullable:
        min_count = 0
    if isinstance(body, Repeat) and body.min_count == 0 and body.max_count is None:
        return body
    return interned((body, min_count, max_count), Repeat(body, min_count, max_count))


def intersect(left: Expression, right: Expression) -> Expression:
    """Intersect two sets. The result may be empty without being EMPTY_SET: see `Derivatives`."""
    if left is EMPTY_SET or right is EMPTY_SET:
        return EMPTY_SET
    if left is right or right is ALL_BYTE_STRINGS:
        return left
    if left is ALL_BYTE_STRINGS:
        return right
    if isinstance(left, Chars) and isinstance(right, Chars) and left.pending == right.pending:
        gaps = subtract_ranges([(0, MAX_CODE_POINT)], left.ranges)
        return chars(subtract_ranges(right.ranges, gaps), left.pending)
    return interned((frozenset((left, right)),), Intersection(left, right))


def complement(body: Expression) -> Expression:
    """Every byte string that is not in `body`."""
    return body.body if isinstance(body, Complement) else interned((body,), Complement(body))


ALL_BYTE_STRINGS = complement(EMPTY_SET)


def difference(left: Expression, right: Expression) -> Expression:
    """The texts of `left` that are not in `right`."""
    return left if right is EMPTY_SET else intersect(left, complement(right))


def token(body: Expression) -> Expression:
    """Mark an expression as one lexical token."""
    return body if body in (EMPTY_SET, EPSILON) else interned((body,), Token(body))


def rule_ref(name: str, may_be_empty: bool = False) -> Expression:
    """Refer to a rule by its name."""
    return interned((name, may_be_empty), Ref(name, may_be_empty))
