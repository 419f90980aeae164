"""How far two right answers may lie apart. Nothing else here is tuned, and no other number is used.

Bits of chance, ids, what a step keeps that does not lie at its line, and whatever a backend says
twice are compared exactly.
"""

import numpy as np
from numpy.typing import ArrayLike

# One function of the sampler or of a layer, in float32. An exponential, a logarithm or a quotient
# of two libraries differs by a few units in the last place, 2⁻²³ of the value each, and a sum of up
# to 40 terms in another order by one for each of its terms: of the largest of them.
ROUNDINGS = 64
ULPS = ROUNDINGS * 2.0**-23

# A logit of a whole model in float32, and so a log-probability; or what a layer or its attention
# makes. A rounding is off by 2⁻²⁴ of its value at most, and by 2⁻²⁴ / √3 as a rule (the root of the
# mean square). Along the longest path through a small model there are some 300 of them, of values
# below 32, of either sign: they add up to √300 · 32 · 2⁻²⁴ / √3 = 2 · 10⁻⁵ as a rule, and this is
# five times as much. For attention alone it holds in the worst case: `attention.py` says why.
LOGIT = 1e-4

# Attention in bfloat16, whose values are below 1: weights and means are rounded to 2⁻⁹ of
# themselves, and two of each, one on either side, are less than this.
BFLOAT16 = 2.0**-7

# What lies below the smallest normal float32 is 0 to an accelerator, terms of a sum included.
FLUSHED = 2.0**-126


def close(found: ArrayLike, expected: ArrayLike, size: ArrayLike = 0, what: str = "") -> None:
    """Raises AssertionError unless found is expected to within `ULPS`. size: of the largest terms
    that were added up on the way, if they may be larger than their sum.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape}, and not {expected.shape}"
    infinite = np.isinf(expected)
    allowed = ULPS * np.maximum(np.where(infinite, 0, np.abs(expected)), size) + ROUNDINGS * FLUSHED
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        within = np.where(infinite, found == expected, np.abs(found - expected) <= allowed)
    assert within.all(), f"{what}: {found[~within]}, and not {expected[~within]}".lstrip(": ")


def near(found: ArrayLike, expected: ArrayLike, within: float = LOGIT) -> None:
    """Raises AssertionError unless every found number lies within an absolute tolerance."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{found.shape}, and not {expected.shape}"
    error = np.abs(found - expected)
    assert (error <= within).all(), f"off by {error.max()}, more than {within}"


def same(found: ArrayLike, expected: ArrayLike, what: str = "") -> None:
    """Raises AssertionError unless both are the same numbers."""
    np.testing.assert_array_equal(found, expected, err_msg=what)
