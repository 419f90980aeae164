"""JSON numbers between bounds. A bounded number is written without an exponent.

A parser may interpret a number as the written decimal or as the nearest float, and a bound too. A
text is accepted only if both interpretations are within the bounds. So an exclusive bound is
replaced by the next float, and a number that passes a bound when rounded is rejected.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

from reference.grammar.language.expressions import (
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
from reference.grammar.language.json_grammar import (
    DIGIT,
    FRACTION,
    INTEGER_PART,
    MAX_DIGITS,
    NON_ZERO,
    NUMBER,
)
from reference.grammar.language.nodes import Expression

MIN_POSITIVE = Decimal(1).scaleb(-MAX_DIGITS)  # no other number that can be written is nearer to 0
ANY_DIGITS = repeat(DIGIT)


@dataclass(frozen=True)
class Bound:
    """A lower or upper bound. exclusive: whether the bound itself is out of range."""

    value: int | float
    exclusive: bool

    @property
    def negated(self) -> "Bound":
        """The bound of the negated numbers."""
        return Bound(-self.value, self.exclusive)


def integers(low: Bound | None, high: Bound | None) -> Expression:
    """Integers within the bounds, written without a decimal point."""
    smallest, largest = min_decimal(low, integral=True), max_decimal(high, integral=True)
    return between(smallest, largest, EPSILON)


def numbers(low: Bound | None, high: Bound | None) -> Expression:
    """Numbers within the bounds; without any bound, all numbers, in every notation."""
    if low is None and high is None:
        return NUMBER
    return between(min_decimal(low), max_decimal(high), optional(FRACTION))


def min_decimal(bound: Bound | None, *, integral: bool = False) -> Decimal:
    """Return the least number that satisfies a lower bound in both interpretations; −∞ for no
    bound. integral: only integers matter.
    """
    if bound is None:
        return Decimal("-Infinity")
    value, exclusive = bound.value, bound.exclusive
    if integral and isinstance(value, int):
        return Decimal(value + exclusive)
    try:
        nearest = float(value)
    except OverflowError:
        nearest = math.inf if value > 0 else -math.inf
    if nearest < value or (exclusive and nearest == value):
        nearest = math.nextafter(nearest, math.inf)
    exact, written = Decimal(nearest), Decimal(repr(nearest))
    return max(exact, written) if nearest.is_integer() else written


def max_decimal(bound: Bound | None, *, integral: bool = False) -> Decimal:
    """Return the greatest number that satisfies an upper bound, as in `min_decimal`."""
    return min_decimal(bound and bound.negated, integral=integral).copy_negate()


def between(low: Decimal, high: Decimal, fraction: Expression) -> Expression:
    """Numbers from `low` to `high`. fraction: what may follow the integer part."""
    unsigned = concat(INTEGER_PART, fraction)
    positive = non_negative_between(unsigned, low, high)
    negative = non_negative_between(unsigned, high.copy_negate(), low.copy_negate())
    return union([positive, concat(literal("-"), negative)])


def non_negative_between(unsigned: Expression, low: Decimal, high: Decimal) -> Expression:
    """The numbers ≥ 0 of `unsigned` that are from `low` to `high`."""
    if high < 0:
        return EMPTY_SET
    bounded = intersect(unsigned, at_least(low, exclusive=False)) if low > 0 else unsigned
    if high.is_infinite():
        return bounded
    return difference(bounded, at_least(high, exclusive=True))


def at_least(value: Decimal, *, exclusive: bool) -> Expression:
    """The numbers ≥ value, or > value if exclusive, for a value ≥ 0.

    Such a number has more digits before the point, or the same digits up to some position and a
    greater one there. The expression is built from the last position to the first.
    """
    if 0 < value < MIN_POSITIVE:
        value, exclusive = Decimal(0), True
    text = "" if value.is_infinite() else format(value.copy_abs(), "f")
    integer_digits, _, fraction_digits = text.partition(".")
    if not 0 < len(integer_digits) <= MAX_DIGITS:
        return EMPTY_SET
    fraction_digits = fraction_digits.rstrip("0")
    nonzero_digits = concat_all([repeat(literal("0")), NON_ZERO, ANY_DIGITS])
    # What may follow the digits so far when they equal those of the value.
    rest = nonzero_digits if exclusive else ANY_DIGITS
    for digit in reversed(fraction_digits):
        rest = union([concat(greater_digit(digit), ANY_DIGITS), concat(literal(digit), rest)])
    any_fraction = optional(concat(literal("."), repeat(DIGIT, 1)))
    rest = concat(literal("."), rest) if fraction_digits or exclusive else any_fraction
    for position, digit in enumerate(reversed(integer_digits)):
        lower_digits = repeat(DIGIT, position, position)
        greater = concat_all([greater_digit(digit), lower_digits, any_fraction])
        rest = union([greater, concat(literal(digit), rest)])
    longer = concat(NON_ZERO, repeat(DIGIT, len(integer_digits), MAX_DIGITS))
    return union([concat(longer, any_fraction), rest])


def greater_digit(digit: str) -> Expression:
    """One digit greater than this one; EMPTY_SET for 9."""
    return chars([(ord(digit) + 1, ord("9"))])
