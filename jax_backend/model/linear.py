"""Linear layers, in the layout of the files, (out, in)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jax_backend.platform import platform

Shapes = jax.ShapeDtypeStruct


class Linear(nnx.Module):
    """y = W x + b, or y = W x, for each row."""

    def __init__(self, out: int, into: int, bias: bool, dtype: jnp.dtype) -> None:
        self.weight = nnx.Param(Shapes((out, into), dtype))
        self.bias = nnx.Param(Shapes((out,), dtype)) if bias else None

    def __call__(self, x_TI: Float[Array, "T in"]) -> Float[Array, "T out"]:
        y_TO = product(x_TI, self.weight[...])
        return y_TO if self.bias is None else y_TO + self.bias[...][None]


def product(
    x_TI: Float[Array, "T in"], w_OI: Float[Array, "out in"], out: DTypeLike | None = None
) -> Float[Array, "T out"]:
    """x Wᵀ, in the dtype `out` if it is not to be that of x. On a CPU the few rows of a decoding
    step are columns of W x, which reads the weights once, in order; the barriers keep the compiler
    from folding the transposition back.
    """
    if platform() != "cpu" or len(x_TI) == 1:
        inner = (((1,), (1,)), ((), ()))
        return jax.lax.dot_general(
            x_TI, w_OI, inner, precision="highest", preferred_element_type=out
        )
    columns = jax.lax.optimization_barrier(x_TI.T)
    y_OT = jax.lax.optimization_barrier(
        jnp.matmul(w_OI, columns, precision="highest", preferred_element_type=out)
    )
    return y_OT.T
