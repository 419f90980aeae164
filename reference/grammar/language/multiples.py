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
from reference.grammar.language.work_budget import WorkBudget

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


class Multiples:
    """Builds the multiples of numbers, each list of expressions once. Raises TooComplex past the
    bound on the work: each different transition counts twice, since the compiler visits it again.
    """

    def __init__(self, budget: WorkBudget) -> None:
        self._budget = budget
        self._lists: dict[tuple[Fraction, bool], list[list[Expression]]] = {}

    def non_negative(self, step: Fraction, max_digits: int, *, integral: bool) -> Expression:
        """The multiples ≥ 0 of a step, with at most `max_digits` digits before the point, and at
        most 15. integral: without a point. The step's denominator is a power of 2.
        """
        lists = self._lists.setdefault((step, integral), [])
        if not lists:
            lists.append(self._ends(step, integral=integral))
        # The i-th list: up to i digits, and then the end of the number.
        ends, modulus = lists[0], divisor(step)
        count = min(max_digits, MAX_INTEGER_DIGITS)
        while len(lists) < count:
            lists.append(either(ends, self._one_more_digit(lists[-1])))
        integers = lists[count - 1]
        digits = [concat(literal(str(d)), integers[d % modulus]) for d in range(1, 10)]
        return union([concat(literal("0"), ends[0]), *digits])

    def _ends(self, step: Fraction, *, integral: bool) -> list[Expression]:
        """Return what may follow the digits before the point, by their remainder."""
        decimals, modulus = significant_decimals(step), divisor(step)

        def where_divisible(decimals_left: int, expression: Expression) -> list[Expression]:
            """The expression for those remainders after which zeros would complete a multiple."""
            scale = 10**decimals_left
            return [EMPTY_SET if r * scale % modulus else expression for r in range(modulus)]

        ends = where_divisible(decimals, EPSILON)
        if integral:
            return ends
        zeros = repeat(literal("0"), 0 if decimals else 1, MAX_DIGITS - decimals)
        fractions = where_divisible(0, zeros)
        for decimals_left in range(1, decimals + 1):
            fractions = self._one_more_digit(fractions)
            if decimals_left < decimals:
                fractions = either(where_divisible(decimals_left, EPSILON), fractions)
        return either(ends, [concat(literal("."), fraction) for fraction in fractions])

    def _one_more_digit(self, following: list[Expression]) -> list[Expression]:
        """A digit after each remainder, and then what may follow the next remainder. Remainders
        that ten makes equal share an expression.
        """
        modulus = len(following)
        period = modulus // gcd(10, modulus)
        self._budget.spend(2 * 10 * period)
        return [any_digit(following, 10 * r % modulus) for r in range(period)] * gcd(10, modulus)


def any_digit(following: list[Expression], start: int) -> Expression:
    """A digit, and then what may follow the remainder `start` plus the digit."""
    digits: dict[Expression, list[int]] = {}
    for digit in range(10):
        rest = following[(start + digit) % len(following)]
        if rest is not EMPTY_SET:
            digits.setdefault(rest, []).append(digit)
    return union([concat(one_of(tuple(group)), rest) for rest, group in digits.items()])


@lru_cache(1024)
def one_of(digits: tuple[int, ...]) -> Expression:
    """One of these digits."""
    return chars([(ord("0") + digit, ord("0") + digit) for digit in digits])


def either(left: list[Expression], right: list[Expression]) -> list[Expression]:
    """Unite two lists, remainder by remainder."""
    return [b if a is EMPTY_SET else union((a, b)) for a, b in zip(left, right, strict=True)]
