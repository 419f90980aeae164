"""Sums that do not depend on the company.

How XLA adds up a row on a CPU depends on how many rows there are beside it: in another order, and
so with other last bits. Additions that are written out stay in their order.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32

from jax_backend.platform import platform

MOST = 64  # additions in a row: what a compiler unrolls without a thought


def row_sum(x: Float32[Array, "... N"]) -> Float32[Array, "..."]:
    """The sum along the last axis; on a CPU, in an order that N alone decides. Other platforms use
    their own reduction.
    """
    return written_out(x) if platform() == "cpu" else x.sum(axis=-1)


def written_out(x: Float32[Array, "... N"]) -> Float32[Array, "..."]:
    """The sum along the last axis, in an order that N alone decides, on every platform.

    `MOST` strides are added to each other, lane by lane, and their sums in the same way, until one
    is left.
    """
    while (n := x.shape[-1]) > 1:
        lanes = -(-n // MOST)
        strides = -(-n // lanes)
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, lanes * strides - n)])
        parts = [x[..., i * lanes : (i + 1) * lanes] for i in range(strides)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        # Else the sums of the next round would be made again for each of its terms.
        x = jax.lax.optimization_barrier(total)
    return x[..., 0]
