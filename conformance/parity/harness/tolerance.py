"""Tolerances: how much two correct results may differ. The parity tests use no other ones.

Random bits, token ids, truncation results away from a threshold, and repeated outputs of the same
backend are compared exactly.
"""

import numpy as np
from numpy.typing import ArrayLike

from reference.model.config import LlamaConfig

# One function of the sampler or of a layer, in float32. Exponentials, logarithms and quotients of
# two libraries differ by a few units in the last place, 2⁻²³ of the value each. Sums of up to 40
# terms in different orders differ by one unit of the largest term for each term.
ROUNDINGS = 64
ULPS = ROUNDINGS * 2.0**-23

# A logit of a whole model in float32, and so a log-probability; or the output of a layer or of its
# attention. A rounding error is at most 2⁻²⁴ of the value; its root mean square is 2⁻²⁴ / √3. The
# longest path through a small model has some 300 roundings of values below 32, with random signs.
# Their sum is √300 · 32 · 2⁻²⁴ / √3 = 2 · 10⁻⁵ (root mean square), and this is five times as much.
# For attention alone the bound holds in the worst case: see `model/attention.py`.
LOGIT_TOLERANCE = 1e-4

# A logit of a model that rounds activations to int8 or fp8, if one of them is nearly halfway
# between two numbers. They differ by at most an eighth of the activation, 4 or less, times a weight
# of about 0.3 or less; a few such differences reach a logit.
ROUNDED_TOLERANCE = 0.5

# Attention in bfloat16 with values below 1: weights and means are rounded to 2⁻⁹ of their value.
# Two roundings on each side are less than this.
BFLOAT16_TOLERANCE = 2.0**-7

# The smallest normal float32. Accelerators flush smaller values to 0, terms of a sum included.
MIN_NORMAL = 2.0**-126


def logit_tolerance(config: LlamaConfig) -> float:
    """Return how much two correct logits of a model may differ."""
    return ROUNDED_TOLERANCE if rounds_activations(config) else LOGIT_TOLERANCE


def rounds_activations(config: LlamaConfig) -> bool:
    """Return whether inputs of linear layers, or keys and values, are quantized."""
    quantization = config.quantization
    return config.kv_dtype is not None or (
        quantization is not None and quantization.scheme.inputs is not None
    )


def assert_close(
    actual: ArrayLike, expected: ArrayLike, size: ArrayLike = 0, name: str = ""
) -> None:
    """Assert that both are equal to within `ULPS`. size: the largest terms of an intermediate sum,
    if they may exceed the result.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, (
        f"{name}: shape {actual.shape} instead of {expected.shape}"
    )
    infinite = np.isinf(expected)
    allowed = (
        ULPS * np.maximum(np.where(infinite, 0, np.abs(expected)), size) + ROUNDINGS * MIN_NORMAL
    )
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        within = np.where(infinite, actual == expected, np.abs(actual - expected) <= allowed)
    assert within.all(), f"{name}: {actual[~within]} instead of {expected[~within]}".lstrip(": ")


def assert_near(actual: ArrayLike, expected: ArrayLike, within: float = LOGIT_TOLERANCE) -> None:
    """Assert that all numbers are within an absolute tolerance."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape} instead of {expected.shape}"
    error = np.abs(actual - expected)
    assert (error <= within).all(), f"error {error.max()} exceeds {within}"


def assert_equal(actual: ArrayLike, expected: ArrayLike, name: str = "") -> None:
    """Assert that both are the same numbers."""
    np.testing.assert_array_equal(actual, expected, err_msg=name)
