"""Matrix products of rows with weights in the layout of the checkpoint files, (out, in)."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

ROWS = 0  # a column block: see `product`


def product(
    x_TI: Float[Array, "T in"],
    w_OI: Float[Array, "out in"],
    column_block: int,
    out_dtype: DTypeLike | None = None,
) -> Float[Array, "T out"]:
    """Compute x Wᵀ, in the dtype of x unless `out_dtype` is given.

    column_block: the number of rows that are multiplied at a time, as (W xᵀ)ᵀ; ROWS to multiply all
    at once as x Wᵀ. On a CPU it decides how fast the product is, and the order of its sums.
    """
    if column_block == ROWS:
        contraction = (((1,), (1,)), ((), ()))
        return jax.lax.dot_general(
            x_TI, w_OI, contraction, precision="highest", preferred_element_type=out_dtype
        )
    blocks = [x_TI[i : i + column_block] for i in range(0, len(x_TI), column_block)]
    parts = [column_product(x_BI, w_OI, out_dtype) for x_BI in blocks]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def column_product(
    x_BI: Float[Array, "B in"], w_OI: Float[Array, "out in"], out_dtype: DTypeLike | None
) -> Float[Array, "B out"]:
    """Compute (W xᵀ)ᵀ: on a CPU a skinny product, which reads the weights once, in order. The
    barriers keep the compiler from folding the transposes back.
    """
    columns = jax.lax.optimization_barrier(x_BI.T)
    y_OB = jax.lax.optimization_barrier(
        jnp.matmul(w_OI, columns, precision="highest", preferred_element_type=out_dtype)
    )
    return y_OB.T
