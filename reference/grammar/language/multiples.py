"""Multiples of a number, in decimal notation: an automaton whose states are remainders.

The digits read so far leave some remainder r, and a further digit d leads from r to 10·r + d. A
list of expressions gives what may follow, by remainder.
"""

from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm

from reference.grammar.language.expressions import (
    EMPTY_SET,
    EPSILON,
    chars,
    concat,
    literal,
    repeat,
    union,
)
from reference.grammar.language.json_grammar import MAX_DIGITS
from reference.grammar.language.nodes import Expression

MAX_INTEGER_DIGITS = 15  # with three binary digits after the point, such a number is a float
MAX_DENOMINATOR = 8
MAX_DIVISOR = 1_000
MAX_COPRIME_PART = 100  # of the divisor: other factors than 2 and 5 need more remainders
STEP_DESCRIPTION = (
    f"integer up to {MAX_DIVISOR:,} (up to {MAX_COPRIME_PART} without its factors 2 and 5), "
    "or such a fraction as 0.5, 0.25 or 0.125"
)


def is_decidable_step(step: Fraction) -> bool:
    """Return whether the multiples of a step are supported: they are floats, on which all
    validators agree, and their remainders are few.
    """
    if MAX_DENOMINATOR % step.denominator or divisor(step) > MAX_DIVISOR:
        return False
    coprime_part = divisor(step)
    for factor in (2, 5):
        while coprime_part % factor == 0:
            coprime_part //= factor
    return coprime_part <= MAX_COPRIME_PART


def common_step(left: Fraction, right: Fraction) -> Fraction:
    """Return the step whose multiples are those of both."""
    return Fraction(lcm(left.numerator, right.numerator), gcd(left.denominator, right.denominator))


def significant_decimals(step: Fraction) -> int:
    """Return how many digits after the point the multiples of a step need: 2 for 0.25."""
    return step.denominator.bit_length() - 1


def divisor(step: Fraction) -> int:
    """Return the number that divides the digits of the multiples of a step, without the point: 25
    for 0.25, since 0.75 is written with 75.
    """
    return int(step * 10 ** significant_decimals(step))


@lru_cache(16)
def multiples(step: Fraction, max_digits: int, *, integral: bool) -> Expression:
    """The multiples ≥ 0 of a step, with at most `max_digits` digits before the point, and at most
    15. integral: without a point. The step's denominator is a power of 2.
    """
    decimals, modulus = significant_decimals(step), divisor(step)
    zeros = literal("0")

    def where_divisible(decimals_left: int, expression: Expression) -> list[Expression]:
        """The expression for those remainders after which zeros would complete a multiple."""
        scale = 10**decimals_left
        return [EMPTY_SET if r * scale % modulus else expression for r in range(modulus)]

    fractions = where_divisible(0, repeat(zeros, 0 if decimals else 1, MAX_DIGITS - decimals))
    for decimals_left in range(1, decimals + 1):
        fractions = one_more_digit(fractions)
        if decimals_left < decimals:
            fractions = either(where_divisible(decimals_left, EPSILON), fractions)
    ends = where_divisible(decimals, EPSILON)
    if not integral:
        ends = either(ends, [concat(literal("."), fraction) for fraction in fractions])
    integers = ends
    for _ in range(min(max_digits, MAX_INTEGER_DIGITS) - 1):
        integers = either(ends, one_more_digit(integers))
    digits = [concat(literal(str(d)), integers[d % modulus]) for d in range(1, 10)]
    return union([concat(zeros, ends[0]), *digits])


def either(left: list[Expression], right: list[Expression]) -> list[Expression]:
    """Unite two lists, remainder by remainder."""
    return [union(pair) for pair in zip(left, right, strict=True)]


def one_more_digit(following: list[Expression]) -> list[Expression]:
    """A digit after each remainder, and then what may follow the next remainder."""
    modulus = len(following)
    result = []
    for remainder in range(modulus):
        digits: dict[Expression, list[tuple[int, int]]] = {}
        for digit in range(10):
            rest = following[(10 * remainder + digit) % modulus]
            digits.setdefault(rest, []).append((ord("0") + digit, ord("0") + digit))
        result.append(union([concat(chars(group), rest) for rest, group in digits.items()]))
    return result
