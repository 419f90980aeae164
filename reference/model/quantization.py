"""Quantized weights, inputs of linear layers, keys and values: the meaning of a quantized model.

    ŵ = s · q              a weight, stored as q
    x̂ = s · round(x / s)   an input of a linear layer, or a key or a value in an fp8 cache
    y = x̂ Ŵᵀ + b           a linear layer, in the dtype of the model

A number is quantized to int8, −128 … 127, or to fp8: 1 sign, 4 exponent and 3 mantissa bits
("E4M3": no infinities, at most 448; Micikevicius et al., "FP8 Formats for Deep Learning", 2022).
There is no zero point. This is the arithmetic of compressed-tensors (its `lifecycle/forward.py`),
except for the dynamic scales of int8, which are vLLM's; decision 38 has the reason.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from jaxtyping import Float, Shaped

from reference.model.quantization_scheme import FP8, INT8

# The largest absolute value of a row is scaled to this.
LIMIT = {INT8: 127.0, FP8: 448.0}
MIN_SCALE = 2.0**-126  # the smallest normal float32: a row of zeros has a scale, too


@dataclass(frozen=True, kw_only=True, eq=False)
class InputRounding:
    """The rounding of the inputs of a linear layer.

    number: INT8 or FP8. scale: of every input, static; None: computed for each row (dynamic).
    columns: inputs that share a dynamic scale; None: a whole row.
    """

    number: str
    scale: float | None = None
    columns: int | None = None


def round_to(x: Float[np.ndarray, "*shape"], number: str) -> Float[np.ndarray, "*shape"]:
    """Round to the nearest number of a type, ties to even. A value beyond the range becomes the
    largest or the smallest number of the type.

    >>> round_to(np.array([2.5, -2.5, 300, -300]), INT8).tolist()
    [2.0, -2.0, 127.0, -128.0]
    >>> round_to(np.array([17.0, 19.0, 1e9]), FP8).tolist()
    [16.0, 20.0, 448.0]
    """
    if number == INT8:
        return np.clip(np.rint(x), -128, 127)
    return np.clip(x, -LIMIT[FP8], LIMIT[FP8]).astype(ml_dtypes.float8_e4m3fn).astype(x.dtype)


def rounded(
    x: Float[np.ndarray, "*shape"], scale: Float[np.ndarray, "*scales"] | float, number: str
) -> Float[np.ndarray, "*shape"]:
    """Return s · round(x / s). scale: positive; a number, or an array that x broadcasts with.

    >>> rounded(np.array([0.9, 1.1]), 0.5, INT8).tolist()
    [1.0, 1.0]
    """
    scale = np.asarray(scale, x.dtype)
    return scale * round_to(x / scale, number)


def dynamic_scale(x: Float[np.ndarray, "*rows I"], number: str) -> Float[np.ndarray, "*rows 1"]:
    """Return the scale of each row: its largest absolute value times the rounded 1 / LIMIT, which
    is what compilers make of a quotient.

    >>> dynamic_scale(np.array([[1.0, -44.8], [0.0, 0.0]]), FP8).round(9).tolist()
    [[0.1], [0.0]]
    """
    largest = np.abs(x).max(axis=-1, keepdims=True)
    reciprocal = np.asarray(1 / LIMIT[number], x.dtype)
    return np.maximum(largest * reciprocal, np.asarray(MIN_SCALE, x.dtype))


def rounded_input(
    x_TI: Float[np.ndarray, "T I"], rounding: InputRounding
) -> Float[np.ndarray, "T I"]:
    """Round the inputs of a linear layer. Each row is rounded by itself, so a result does not
    depend on other rows.
    """
    if rounding.scale is not None:
        return rounded(x_TI, rounding.scale, rounding.number)
    (T, size), columns = x_TI.shape, rounding.columns or x_TI.shape[1]
    blocks = -(-size // columns)
    x_TBC = np.pad(x_TI, ((0, 0), (0, blocks * columns - size))).reshape(T, blocks, columns)
    x_TBC = rounded(x_TBC, dynamic_scale(x_TBC, rounding.number), rounding.number)
    return x_TBC.reshape(T, -1)[:, :size]


def dequantize(
    q_OI: Shaped[np.ndarray, "O I"],
    scale_AB: Float[np.ndarray, "A B"],
    rows: int | None,
    columns: int | None,
) -> Float[np.ndarray, "O I"]:
    """Return the weights s · q, in the dtype of the scales.

    rows, columns: the block of weights that shares a scale; None: all of them. Blocks begin at the
    first weight; the last ones may be smaller.
    """
    (count, size), dtype = q_OI.shape, scale_AB.dtype
    scale_OB = np.repeat(scale_AB, rows or count, axis=0)[:count]
    scale_OI = np.repeat(scale_OB, columns or size, axis=1)[:, :size]
    return scale_OI * q_OI.astype(dtype)


def unpack(packed_OP: Shaped[np.ndarray, "O P"], size: int) -> Shaped[np.ndarray, "O I"]:
    """Return `size` int8 weights a row, of which four are packed into each int32: the first in the
    lowest byte, each with 128 added ("pack-quantized" of compressed-tensors, with 8 bits).
    """
    biased = np.ascontiguousarray(packed_OP).astype("<i4").view(np.uint8)[:, :size]
    return (biased ^ 0x80).view(np.int8)
