"""What sets of texts are made of: expressions over characters, and rules that refer to each other.

    Chars           one character of some ranges
    Then, Or        one after the other; one or the other
    Repeat          a number of times
    Both, Other     in both sets; any bytes but those of the set
    Token           a lexical token: the set inside it, no reference in it
    Ref             what the rule of that name says

They are built by the functions in lower case, which keep them small: equal expressions are one
object, and what can be nothing at all is `NOTHING`. An expression with references is a pushdown
automaton: what it says of the rest of a text is its stack.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakValueDictionary

from reference.grammar.language.char_ranges import (
    LAST,
    SURROGATES,
    Ranges,
    subtract,
    union,
)


@dataclass(frozen=True, eq=False)
class Expression:
    """A set of texts, in UTF-8. nullable: whether the empty text is in it."""

    nullable: bool = field(init=False, default=False)


@dataclass(frozen=True, eq=False)
class Chars(Expression):
    """One character. pending: if not 0, only this many bytes of it are still to come, and the
    ranges are of the number that their six bits each make up.
    """

    ranges: Ranges
    pending: int = 0


@dataclass(frozen=True, eq=False)
class Then(Expression):
    first: Expression
    rest: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.first.nullable and self.rest.nullable)


@dataclass(frozen=True, eq=False)
class Or(Expression):
    """No options: no text at all."""

    options: tuple[Expression, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", any(o.nullable for o in self.options))


@dataclass(frozen=True, eq=False)
class Repeat(Expression):
    """least to most times; most None: without end."""

    body: Expression
    least: int
    most: int | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.least == 0)


@dataclass(frozen=True, eq=False)
class Both(Expression):
    one: Expression
    two: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.one.nullable and self.two.nullable)


@dataclass(frozen=True, eq=False)
class Other(Expression):
    """Also bytes that are no UTF-8: of use inside of `Both` only."""

    body: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", not self.body.nullable)


@dataclass(frozen=True, eq=False)
class Empty(Expression):
    """The empty text, and no other."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", True)


@dataclass(frozen=True, eq=False)
class Token(Expression):
    """Where one token ends can be told by the character that follows it."""

    body: Expression

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.body.nullable)


@dataclass(frozen=True, eq=False)
class Ref(Expression):
    name: str
    may_be_empty: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "nullable", self.may_be_empty)


@dataclass(frozen=True, eq=False)
class Language:
    """A set of texts: an expression, and the rules that it refers to."""

    start: Expression
    rules: Mapping[str, Expression] = field(default_factory=dict)

    @cached_property
    def reachable(self) -> Mapping[str, Expression]:
        """The rules that take part, in the order in which they are met."""
        found: dict[str, Expression] = {}
        seen: set[Expression] = set()
        waiting = [self.start]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Ref) and part.name not in found:
                found[part.name] = self.rules[part.name]
                waiting.append(found[part.name])
            elif part not in seen:
                seen.add(part)
                waiting.extend(children(part))
        return found


NOTHING = Or(())
EMPTY = Empty()

_known: WeakValueDictionary[tuple[object, ...], Expression] = WeakValueDictionary()


def one_object(key: tuple[object, ...], made: Expression) -> Expression:
    """The expression that was made with this key before, if it is still about."""
    return _known.setdefault((type(made), *key), made)


def chars(ranges: Iterable[tuple[int, int]], pending: int = 0) -> Expression:
    """Of overlapping ranges in any order. Surrogates are no characters."""
    merged = union(ranges)
    found = merged if pending else subtract(merged, (SURROGATES,))
    return one_object((found, pending), Chars(found, pending)) if found else NOTHING


ANY = chars([(0, LAST)])


def literal(text: str) -> Expression:
    """This text."""
    return sequence([chars([(ord(c), ord(c))]) for c in text])


def then(first: Expression, rest: Expression) -> Expression:
    if first is NOTHING or rest is NOTHING:
        return NOTHING
    if first is EMPTY:
        return rest
    if rest is EMPTY:
        return first
    if isinstance(first, Then):
        return sequence([*spine(first), rest])
    return one_object((first, rest), Then(first, rest))


def sequence(parts: Iterable[Expression]) -> Expression:
    whole: Expression = EMPTY
    for part in reversed(list(parts)):
        whole = then(part, whole)
    return whole


def spine(expression: Expression) -> Iterator[Expression]:
    """The parts of a sequence."""
    while isinstance(expression, Then):
        yield expression.first
        expression = expression.rest
    yield expression


def either(options: Iterable[Expression]) -> Expression:
    """Single characters are put together, and what stands there twice counts once."""
    flat: dict[Expression, None] = {}
    merged: dict[int, list[tuple[int, int]]] = {}
    for option in options:
        for part in option.options if isinstance(option, Or) else (option,):
            if isinstance(part, Chars):
                merged.setdefault(part.pending, []).extend(part.ranges)
            else:
                flat[part] = None
    parts = [chars(ranges, pending) for pending, ranges in merged.items()] + list(flat)
    if len(parts) == 1:
        return parts[0]
    return one_object((frozenset(parts),), Or(tuple(parts))) if parts else NOTHING


def optional(expression: Expression) -> Expression:
    return expression if expression.nullable else either([expression, EMPTY])


def repeat(body: Expression, least: int = 0, most: int | None = None) -> Expression:
    if most is not None and least > most:
        return NOTHING
    if body is NOTHING or body is EMPTY or most == 0:
        return NOTHING if body is NOTHING and least > 0 else EMPTY
    if least == most == 1:
        return body
    if body.nullable:
        least = 0
    if isinstance(body, Repeat) and body.least == 0 and body.most is None:
        return body
    return one_object((body, least, most), Repeat(body, least, most))


def both(one: Expression, two: Expression) -> Expression:
    """Whether there is any such text is not looked into."""
    if one is NOTHING or two is NOTHING:
        return NOTHING
    if one is two or two is EVERYTHING:
        return one
    if one is EVERYTHING:
        return two
    if isinstance(one, Chars) and isinstance(two, Chars) and one.pending == two.pending:
        gaps = subtract([(0, LAST)], one.ranges)
        return chars(subtract(two.ranges, gaps), one.pending)
    return one_object((frozenset((one, two)),), Both(one, two))


def other(body: Expression) -> Expression:
    return body.body if isinstance(body, Other) else one_object((body,), Other(body))


EVERYTHING = other(NOTHING)


def but_not(one: Expression, two: Expression) -> Expression:
    """What is in one and not in the other."""
    return one if two is NOTHING else both(one, other(two))


def token(body: Expression) -> Expression:
    return body if body in (NOTHING, EMPTY) else one_object((body,), Token(body))


def reference(name: str, may_be_empty: bool = False) -> Expression:
    return one_object((name, may_be_empty), Ref(name, may_be_empty))


def children(expression: Expression) -> tuple[Expression, ...]:
    match expression:
        case Then(first=first, rest=rest):
            return first, rest
        case Or(options=options):
            return options
        case Both(one=one, two=two):
            return one, two
        case Repeat(body=body) | Other(body=body) | Token(body=body):
            return (body,)
        case _:
            return ()


def parts(expression: Expression) -> Iterator[Expression]:
    """The expression and everything in it, each once, behind no reference."""
    seen, waiting = {expression}, [expression]
    while waiting:
        part = waiting.pop()
        yield part
        fresh = [child for child in children(part) if child not in seen]
        seen.update(fresh)
        waiting.extend(fresh)


def weight(expression: Expression) -> int:
    """How many characters it is written with, each as often as it may be repeated at least or at
    most.
    """
    match expression:
        case Chars():
            return 1
        case Repeat(body=body, least=least, most=most):
            return weight(body) * max(least, most or 1)
        case Then():
            return sum(map(weight, spine(expression)))
        case _:
            return sum(map(weight, children(expression)))
