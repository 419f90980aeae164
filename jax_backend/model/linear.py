"""Linear layers, with weights in the layout of the checkpoint files, (out, in)."""

from dataclasses import dataclass
from enum import Enum

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jax_backend.platform import platform

Shapes = jax.ShapeDtypeStruct


class Form(Enum):
    """The form of a product of rows and a weight matrix. On a CPU it decides how fast the product
    is, and the order of its sums. Elsewhere it makes no difference.
    """

    ROWS = "x Wᵀ"
    COLUMNS = "(W xᵀ)ᵀ"


@dataclass(frozen=True)
class Forms:
    """The form of products on a CPU: COLUMNS from 2 up to `max_columns` rows, else ROWS."""

    max_columns: int = 32

    def of(self, rows: int) -> Form:
        is_skinny = platform() == "cpu" and 1 < rows <= self.max_columns
        return Form.COLUMNS if is_skinny else Form.ROWS


DEFAULT_FORMS = Forms()


class Linear(nnx.Module):
    """Linear layer: y = W x + b, or y = W x, for each row."""

    def __init__(self, out_features: int, in_features: int, bias: bool, dtype: jnp.dtype) -> None:
        self.weight = nnx.Param(Shapes((out_features, in_features), dtype))
        self.bias = nnx.Param(Shapes((out_features,), dtype)) if bias else None

    def __call__(
        self, x_TI: Float[Array, "T in"], forms: Forms = DEFAULT_FORMS
    ) -> Float[Array, "T out"]:
        y_TO = product(x_TI, self.weight[...], forms.of(len(x_TI)))
        return y_TO if self.bias is None else y_TO + self.bias[...][None]


def product(
    x_TI: Float[Array, "T in"],
    w_OI: Float[Array, "out in"],
    form: Form,
    out_dtype: DTypeLike | None = None,
) -> Float[Array, "T out"]:
    """Compute x Wᵀ, in the dtype of x unless `out_dtype` is given."""
    if form is Form.ROWS:
        contraction = (((1,), (1,)), ((), ()))
        return jax.lax.dot_general(
            x_TI, w_OI, contraction, precision="highest", preferred_element_type=out_dtype
        )
    # A skinny product, which reads the weights once, in order: on a CPU the fastest form for the
    # few rows of a decode step. The barriers keep the compiler from folding the transposes back.
    columns = jax.lax.optimization_barrier(x_TI.T)
    y_OT = jax.lax.optimization_barrier(
        jnp.matmul(w_OI, columns, precision="highest", preferred_element_type=out_dtype)
    )
    return y_OT.T
