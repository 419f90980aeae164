"""Linear layers, with weights in the layout of the checkpoint files, (out, in)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jax_backend.platform import platform

Shapes = jax.ShapeDtypeStruct


class Linear(nnx.Module):
    """Linear layer: y = W x + b, or y = W x, for each row."""

    def __init__(self, out_features: int, in_features: int, bias: bool, dtype: jnp.dtype) -> None:
        self.weight = nnx.Param(Shapes((out_features, in_features), dtype))
        self.bias = nnx.Param(Shapes((out_features,), dtype)) if bias else None

    def __call__(self, x_TI: Float[Array, "T in"]) -> Float[Array, "T out"]:
        y_TO = product(x_TI, self.weight[...])
        return y_TO if self.bias is None else y_TO + self.bias[...][None]


def product(
    x_TI: Float[Array, "T in"], w_OI: Float[Array, "out in"], out_dtype: DTypeLike | None = None
) -> Float[Array, "T out"]:
    """Compute x Wᵀ, in the dtype of x unless `out_dtype` is given."""
    if platform() != "cpu" or len(x_TI) == 1:
        contraction = (((1,), (1,)), ((), ()))
        return jax.lax.dot_general(
            x_TI, w_OI, contraction, precision="highest", preferred_element_type=out_dtype
        )
    # On a CPU the few rows of a decode step are the columns of W xᵀ: a skinny product that reads
    # the weights once, in order. The barriers keep the compiler from folding the transposes back.
    columns = jax.lax.optimization_barrier(x_TI.T)
    y_OT = jax.lax.optimization_barrier(
        jnp.matmul(w_OI, columns, precision="highest", preferred_element_type=out_dtype)
    )
    return y_OT.T
