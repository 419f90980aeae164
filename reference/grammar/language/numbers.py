"""JSON numbers between bounds. A bounded number is written without an exponent.

A parser may interpret a number as the written decimal or as the nearest float, and a bound too. A
text is accepted only if both interpretations are within the bounds. So an exclusive bound is
replaced by the next float, and a number that passes a bound when rounded is rejected.
"""

import math
from collections.abc import Callable
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

# The possible absolute values, given how many digits before the point are enough.
Unsigned = Callable[[int], Expression]


@dataclass(frozen=True)
class Bound:
    """A lower or upper bound. exclusive: whether the bound itself is out of range."""

    value: int | float
    exclusive: bool

    @property
    def negated(self) -> "Bound":
        """The bound of the negated numbers."""
        return Bound(-self.value, self.exclusive)


def integers(low: Bound | None, high: Bound | None, unsigned: Unsigned | None = None) -> Expression:
    """Integers within the bounds, written without a decimal point. unsigned: the possible absolute
    values, by default all.
    """
    smallest, largest = min_decimal(low, integral=True), max_decimal(high, integral=True)
    return between(smallest, largest, unsigned or (lambda digits: INTEGER_PART))


def numbers(low: Bound | None, high: Bound | None, unsigned: Unsigned | None = None) -> Expression:
    """Numbers within the bounds; without arguments, all numbers, in every notation. unsigned: the
    possible absolute values, by default all.
    """
    if low is None and high is None and unsigned is None:
        return NUMBER
    smallest, largest = min_decimal(low), max_decimal(high)
    any_unsigned = concat(INTEGER_PART, optional(FRACTION))
    return between(smallest, largest, unsigned or (lambda digits: any_unsigned))


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


def between(low: Decimal, high: Decimal, unsigned: Unsigned) -> Expression:
    """Numbers from `low` to `high`. unsigned: the possible absolute values."""
    positive = non_negative_between(unsigned(integer_digits(high)), low, high)
    smallest, largest = high.copy_negate(), low.copy_negate()
    negative = non_negative_between(unsigned(integer_digits(largest)), smallest, largest)
    return union([positive, concat(literal("-"), negative)])


def integer_digits(bound: Decimal) -> int:
    """Return how many digits the integer part of a number up to a bound may have."""
    return MAX_DIGITS if bound.is_infinite() else max(1, bound.adjusted() + 1)


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
    greater one there.
    """
    if 0 < value < MIN_POSITIVE:
        value, exclusive = Decimal(0), True
    text = "" if value.is_infinite() else format(value.copy_abs(), "f")
    integer_digits, _, fraction_digits = text.partition(".")
    if not 0 < len(integer_digits) <= MAX_DIGITS:
        return EMPTY_SET
    fraction_digits = fraction_digits.rstrip("0")
    any_fraction = optional(concat(literal("."), repeat(DIGIT, 1)))
    longer = concat(NON_ZERO, repeat(DIGIT, len(integer_digits), MAX_DIGITS))
    greater = union([longer, greater_digits(integer_digits, same_length=True)])
    # What may follow the digits before the point when they equal those of the value.
    rest = any_fraction
    if fraction_digits or exclusive:
        nonzero_digits = concat_all([repeat(literal("0")), NON_ZERO, ANY_DIGITS])
        further_digits = nonzero_digits if exclusive else ANY_DIGITS
        greater_fraction = concat(greater_digits(fraction_digits, same_length=False), ANY_DIGITS)
        equal_fraction = concat(literal(fraction_digits), further_digits)
        rest = concat(literal("."), union([greater_fraction, equal_fraction]))
    return union([concat(greater, any_fraction), concat(literal(integer_digits), rest)])


def greater_digits(digits: str, *, same_length: bool) -> Expression:
    """Digits that equal `digits` up to some position and are greater there, where they end.

    same_length: any digits follow, so that the length is that of `digits`. The expression is built
    from halves, and so is nested only as deep as the logarithm of the length.
    """
    if len(digits) < 2:
        return greater_digit(digits)
    middle = len(digits) // 2
    first, second = digits[:middle], digits[middle:]
    any_second = repeat(DIGIT, len(second), len(second)) if same_length else EPSILON
    return union(
        [
            concat(greater_digits(first, same_length=same_length), any_second),
            concat(literal(first), greater_digits(second, same_length=same_length)),
        ]
    )


def greater_digit(digit: str) -> Expression:
    """One digit greater than this one; EMPTY_SET for 9 and for the empty text."""
    return chars([(ord(digit) + 1, ord("9"))]) if digit else EMPTY_SET
