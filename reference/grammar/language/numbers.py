"""Numbers between bounds, as sets of texts. A bounded number is written without an exponent.

A reader may take a number for the decimal that is written, or for the float next to it, and a bound
likewise. A text is in the set only if both find it within the bounds: a bound that is left out
itself becomes the next float, and rounding to floats never passes one.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

from reference.grammar.language.expressions import (
    EMPTY,
    NOTHING,
    Expression,
    both,
    but_not,
    chars,
    either,
    literal,
    optional,
    repeat,
    sequence,
    then,
)
from reference.grammar.language.json_grammar import (
    DIGIT,
    FRACTION,
    MOST_DIGITS,
    NON_ZERO,
    NUMBER,
    WHOLE,
)

FINEST = Decimal(1).scaleb(-MOST_DIGITS)  # no other number on paper is nearer to 0
MORE_DIGITS = repeat(DIGIT)


@dataclass(frozen=True)
class Bound:
    """value: the bound. strict: whether it is left out itself."""

    value: int | float
    strict: bool

    @property
    def negated(self) -> "Bound":
        return Bound(-self.value, self.strict)


def integers(low: Bound | None, high: Bound | None) -> Expression:
    """Whole numbers, written without a point."""
    return between(lowest(low, whole=True), highest(high, whole=True), EMPTY)


def numbers(low: Bound | None, high: Bound | None) -> Expression:
    """All numbers, in every way to write them if there is no bound."""
    if low is None and high is None:
        return NUMBER
    return between(lowest(low), highest(high), optional(FRACTION))


def lowest(bound: Bound | None, *, whole: bool = False) -> Decimal:
    """The least number that is surely within a lower bound; −∞ for none. whole: that of whole
    numbers is enough.
    """
    if bound is None:
        return Decimal("-Infinity")
    value, strict = bound.value, bound.strict
    if whole and isinstance(value, int):
        return Decimal(value + strict)
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    if near < value or (strict and near == value):
        near = math.nextafter(near, math.inf)
    exact, written = Decimal(near), Decimal(repr(near))
    return max(exact, written) if near.is_integer() else written


def highest(bound: Bound | None, *, whole: bool = False) -> Decimal:
    """The greatest number that is surely within an upper bound; ∞ for none."""
    return lowest(bound and bound.negated, whole=whole).copy_negate()


def between(low: Decimal, high: Decimal, after: Expression) -> Expression:
    """after: what may stand behind the whole part."""
    unsigned = then(WHOLE, after)
    positive = up_to(unsigned, low, high)
    negative = up_to(unsigned, high.copy_negate(), low.copy_negate())
    return either([positive, then(literal("-"), negative)])


def up_to(unsigned: Expression, low: Decimal, high: Decimal) -> Expression:
    """Of the numbers ≥ 0 those from `low` to `high`."""
    if high < 0:
        return NOTHING
    found = both(unsigned, above(low, strict=False)) if low > 0 else unsigned
    return found if high.is_infinite() else but_not(found, above(high, strict=True))


def above(value: Decimal, *, strict: bool) -> Expression:
    """The numbers ≥ value, or > value if strict, for a value ≥ 0: those with a larger digit at some
    place and the same before it, from the last place to the first, and those with more digits.
    """
    if 0 < value < FINEST:
        value, strict = Decimal(0), True
    whole, _, rest = ("" if value.is_infinite() else format(value.copy_abs(), "f")).partition(".")
    if not 0 < len(whole) <= MOST_DIGITS:
        return NOTHING
    rest = rest.rstrip("0")
    larger = sequence([repeat(literal("0")), NON_ZERO, MORE_DIGITS])
    found = larger if strict else MORE_DIGITS
    for digit in reversed(rest):
        found = either([then(higher(digit), MORE_DIGITS), then(literal(digit), found)])
    any_fraction = optional(then(literal("."), repeat(DIGIT, 1)))
    found = then(literal("."), found) if rest or strict else any_fraction
    for place, digit in enumerate(reversed(whole)):
        more = sequence([higher(digit), repeat(DIGIT, place, place), any_fraction])
        found = either([more, then(literal(digit), found)])
    longer = then(NON_ZERO, repeat(DIGIT, len(whole), MOST_DIGITS))
    return either([then(longer, any_fraction), found])


def higher(digit: str) -> Expression:
    return chars([(ord(digit) + 1, ord("9"))])
