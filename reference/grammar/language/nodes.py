"""The syntax tree of a formal language: expressions over characters.

    Chars                     one character of some ranges
    Concat, Alternation       a sequence; a choice
    Repeat                    a number of times
    Intersection, Complement  in both sets; every byte string that is not in a set
    Epsilon                   only the empty text
    Token                     a lexical token: an expression without rule references
    Ref                       the rule of that name

Build them with the functions of `expressions`, never directly.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from reference.grammar.language.char_ranges import Ranges


@dataclass(frozen=True, eq=False)
class Expression:
    """A set of texts, in UTF-8. nullable: whether it contains the empty text."""

    nullable: bool = field(init=False, default=False)


@dataclass(frozen=True, eq=False)
class Chars(Expression):
    """One character of some ranges, or the rest of one.

    pending: number of continuation bytes still to come of a character that has begun; 0: it has
    not begun. If not 0, the ranges are those of the number that these bytes form, six bits each.
    """

    ranges: Ranges
    pending: int = 0


@dataclass(frozen=True, eq=False)
class Concat(Expression):
    """A text of `first`, then a text of `rest`."""

    first: Expression
    rest: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.first.nullable and self.rest.nullable)


@dataclass(frozen=True, eq=False)
class Alternation(Expression):
    """A text of any option. Without options it is the empty set."""

    options: tuple[Expression, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", any(o.nullable for o in self.options))


@dataclass(frozen=True, eq=False)
class Repeat(Expression):
    """Texts of `body`, min_count to max_count times. max_count None: unbounded."""

    body: Expression
    min_count: int
    max_count: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.min_count == 0)


@dataclass(frozen=True, eq=False)
class Intersection(Expression):
    """The texts that are in both sets."""

    left: Expression
    right: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.left.nullable and self.right.nullable)


@dataclass(frozen=True, eq=False)
class Complement(Expression):
    """Every byte string that is not in `body`, invalid UTF-8 included: use it inside of an
    `Intersection` only.
    """

    body: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", not self.body.nullable)


@dataclass(frozen=True, eq=False)
class Epsilon(Expression):
    """The empty text, and no other."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", True)


@dataclass(frozen=True, eq=False)
class Token(Expression):
    """A lexical token. Its end is known only from the character that follows it."""

    body: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.body.nullable)


@dataclass(frozen=True, eq=False)
class Ref(Expression):
    """A reference to a rule. may_be_empty: whether the rule contains the empty text."""

    name: str
    may_be_empty: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.may_be_empty)


def concat_parts(expression: Expression) -> Iterator[Expression]:
    """Yield the parts of a concatenation, or the expression itself if it is not one."""
    while isinstance(expression, Concat):
        yield expression.first
        expression = expression.rest
    yield expression


def children(expression: Expression) -> tuple[Expression, ...]:
    """Return the direct subexpressions."""
    match expression:
        case Concat(first=first, rest=rest):
            return first, rest
        case Alternation(options=options):
            return options
        case Intersection(left=left, right=right):
            return left, right
        case Repeat(body=body) | Complement(body=body) | Token(body=body):
            return (body,)
        case _:
            return ()


def subexpressions(expression: Expression) -> Iterator[Expression]:
    """Yield the expression and all that it contains, each once. References are not followed."""
    visited, pending = {expression}, [expression]
    while pending:
        part = pending.pop()
        yield part
        new = [child for child in children(part) if child not in visited]
        visited.update(new)
        pending.extend(new)


def expanded_length(expression: Expression) -> int:
    """Count the characters of the expression when each repetition is written out to its maximum,
    or to its minimum if it is unbounded.
    """
    match expression:
        case Chars():
            return 1
        case Repeat(body=body, min_count=min_count, max_count=max_count):
            return expanded_length(body) * max(min_count, max_count or 1)
        case Concat():
            return sum(map(expanded_length, concat_parts(expression)))
        case _:
            return sum(map(expanded_length, children(expression)))
