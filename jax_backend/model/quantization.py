"""Quantized linear layers and an fp8 KV cache: the twin of `reference.model.quantization`.

Products use the types of the matrix unit: int8 × int8 sums to int32, fp8 × fp8 to float32. A CPU
multiplies in float32, which holds each of these products exactly; sums of int8 products are cut
such that they are exact, too. So the bits of an int8 layer never depend on the order of its sums.

A layer has its weight scales as (out, blocks): one for each row of each block of inputs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32, Int32, Num

from jax_backend.model.products import product
from jax_backend.platform import platform
from reference.model.quantization_scheme import FP8, INT8, Scheme

DTYPES = {INT8: jnp.dtype(jnp.int8), FP8: jnp.dtype(jnp.float8_e4m3fn)}
LIMIT = {INT8: 127.0, FP8: 448.0}
MIN_SCALE = 2.0**-126
EXACT_TERMS = 2**10  # products of int8, each at most 2**14, whose float32 sum is exact


def round_to(x: Float32[Array, "*shape"], number: str) -> Num[Array, "*shape"]:
    """Round to the nearest number of a type, ties to even, and saturate. Return it in that type."""
    if number == INT8:
        return jnp.clip(jnp.round(x), -128, 127).astype(jnp.int8)
    return jnp.clip(x, -LIMIT[FP8], LIMIT[FP8]).astype(jnp.float8_e4m3fn)


def dynamic_scale(x: Float32[Array, "*rows I"], number: str) -> Float32[Array, "*rows 1"]:
    """Return the scale of each row: its largest absolute value times 1 / LIMIT."""
    reciprocal = jnp.float32(1 / LIMIT[number])
    return jnp.maximum(jnp.abs(x).max(axis=-1, keepdims=True) * reciprocal, jnp.float32(MIN_SCALE))


def quantize_input(
    x_TI: Float[Array, "T I"], scheme: Scheme, static_scale: Float32[Array, ""] | None
) -> tuple[Num[Array, "T B C"], Float32[Array, "T B 1"]]:
    """Return the inputs in B blocks of C that share a scale, padded with zeros, and the scales."""
    (T, size), columns = x_TI.shape, scheme.columns or x_TI.shape[1]
    blocks = -(-size // columns)
    x_TI = jnp.pad(x_TI.astype(jnp.float32), ((0, 0), (0, blocks * columns - size)))
    x_TBC = x_TI.reshape(T, blocks, columns)
    if static_scale is None:
        scale_TBx = dynamic_scale(x_TBC, scheme.number)
    else:
        scale_TBx = jnp.broadcast_to(static_scale, (T, blocks, 1))
    return round_to(x_TBC / scale_TBx, scheme.number), scale_TBx


def dequantized(
    q_OI: Num[Array, "O I"], scale_OB: Float32[Array, "O B"], columns: int, dtype: jnp.dtype
) -> Float[Array, "O I"]:
    """Return the weights s · q, rounded to dtype."""
    scale_OI = jnp.repeat(scale_OB, columns, axis=1)[:, : q_OI.shape[1]]
    return (scale_OI * q_OI.astype(jnp.float32)).astype(dtype)


def quantized_product(
    x_TI: Float[Array, "T I"],
    q_OI: Num[Array, "O I"],
    scale_OB: Float32[Array, "O B"],
    static_scale: Float32[Array, ""] | None,
    scheme: Scheme,
    column_block: int,
) -> Float[Array, "T O"]:
    """Compute x̂ Ŵᵀ in the dtype of x. column_block: see `product`.

    Weights with one scale a row are multiplied as they are stored, and the sums scaled. Weights
    with several are scaled first.
    """
    dtype, in_blocks = x_TI.dtype, scale_OB.shape[1] > 1
    row_scale = scale_OB.T
    if scheme.inputs is not None:
        x_TBC, scale_TBx = quantize_input(x_TI, scheme, static_scale)
        if not in_blocks:
            y_TO = exact_product(x_TBC[:, 0], q_OI, column_block)
            return (y_TO * scale_TBx[:, 0] * row_scale).astype(dtype)
        x_TI = (x_TBC.astype(jnp.float32) * scale_TBx).reshape(len(x_TI), -1)[:, : x_TI.shape[1]]
        x_TI = x_TI.astype(dtype)
    if in_blocks:
        assert scheme.columns is not None
        return product(x_TI, dequantized(q_OI, scale_OB, scheme.columns, dtype), column_block)
    y_TO = product(x_TI, q_OI.astype(dtype), column_block, jnp.float32)
    return (y_TO * row_scale).astype(dtype)


def exact_product(
    x_TI: Num[Array, "T I"], q_OI: Num[Array, "O I"], column_block: int
) -> Float32[Array, "T O"]:
    """Compute x qᵀ of quantized numbers: int8 exactly, then rounded to float32; fp8 with float32
    sums.
    """
    contraction = (((1,), (1,)), ((), ()))
    if platform() == "cpu" and x_TI.dtype == jnp.int8:
        return int8_product(x_TI, q_OI, column_block).astype(jnp.float32)
    if platform() == "cpu":
        return product(x_TI.astype(jnp.float32), q_OI.astype(jnp.float32), column_block)
    sums = jnp.int32 if x_TI.dtype == jnp.int8 else jnp.float32
    y_TO = jax.lax.dot_general(x_TI, q_OI, contraction, preferred_element_type=sums)
    return y_TO.astype(jnp.float32)


def int8_product(
    x_TI: Num[Array, "T I"], q_OI: Num[Array, "O I"], column_block: int
) -> Int32[Array, "T O"]:
    """Multiply int8 in float32, EXACT_TERMS inputs at a time, whose sums are exact integers."""
    parts = []
    for start in range(0, x_TI.shape[1], EXACT_TERMS):
        x, q = (a[:, start : start + EXACT_TERMS].astype(jnp.float32) for a in (x_TI, q_OI))
        parts.append(product(x, q, column_block).astype(jnp.int32))
    return sum(parts[1:], start=parts[0])


def quantize_kv(
    x_BTKH: Float[Array, "B T K H"], scale: Float32[Array, ""]
) -> Num[Array, "B T K H"]:
    """Return keys or values as they are in the pages of an fp8 cache: round(x / s)."""
    return round_to(x_BTKH.astype(jnp.float32) / scale, FP8)
