"""Sums in an order that depends only on the number of terms.

XLA on a CPU reduces a row in an order that depends on the number of rows in the batch, which
changes the last bits. Additions that are unrolled in the program keep their order.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from jax_backend.platform import platform

MAX_UNROLLED = 64  # additions: compilation stays fast


def sum_rows(x: Float32[Array, "... N"]) -> Float32[Array, "..."]:
    """Sum along the last axis, on a CPU in an order that depends on N only. Other platforms use
    their own reduction.
    """
    return fixed_order_sum(x) if platform() == "cpu" else x.sum(axis=-1)


def fixed_order_sum(x: Float32[Array, "... N"]) -> Float32[Array, "..."]:
    """Sum along the last axis in an order that depends on N only, on every platform.

    The row is cut into at most `MAX_UNROLLED` strides, which are added to each other lane by lane.
    This repeats with the lanes until one number is left.
    """
    while (n := x.shape[-1]) > 1:
        lanes = -(-n // MAX_UNROLLED)
        strides = -(-n // lanes)
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, lanes * strides - n)])
        parts = [x[..., i * lanes : (i + 1) * lanes] for i in range(strides)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        # Without the barrier the next round would recompute these sums for each of its terms.
        x = jax.lax.optimization_barrier(total)
    return x[..., 0]
