"""Linear layers, with weights in the layout of the checkpoint files, (out, in)."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jax_backend.model import quantization
from jax_backend.model.products import ROWS, product
from jax_backend.model.sharding import product_in_order
from reference.model.quantization_scheme import STATIC, Scheme

Shapes = jax.ShapeDtypeStruct


class Linear(nnx.Module):
    """Linear layer: y = W x + b, or y = W x, for each row. scheme: of quantized weights; None for
    weights in `dtype`. dtype: of x, y and b. ordered: a mesh that divides the inputs, whose devices
    are to be added in order; None for the order of an all-reduce.
    """

    def __init__(
        self,
        out_features: int,
        in_features: int,
        bias: bool,
        dtype: jnp.dtype,
        scheme: Scheme | None = None,
        ordered: Mesh | None = None,
    ) -> None:
        self.scheme, self.ordered = scheme, ordered
        self.bias = nnx.Param(Shapes((out_features,), dtype)) if bias else None
        stored = dtype if scheme is None else quantization.DTYPES[scheme.number]
        self.weight = nnx.Param(Shapes((out_features, in_features), stored))
        float32, blocks = jnp.dtype(jnp.float32), 0
        if scheme is not None:
            blocks = scheme.scale_shape(out_features, in_features)[1]
        is_static = scheme is not None and scheme.inputs == STATIC
        self.weight_scale = nnx.Param(Shapes((out_features, blocks), float32)) if blocks else None
        self.input_scale = nnx.Param(Shapes((), float32)) if is_static else None

    def __call__(
        self, x_TI: Float[Array, "T in"], column_block: int = ROWS
    ) -> Float[Array, "T out"]:
        y_TO = self.multiply(x_TI, column_block)
        return y_TO if self.bias is None else y_TO + self.bias[...][None]

    def multiply(self, x_TI: Float[Array, "T in"], column_block: int) -> Float[Array, "T out"]:
        """Compute W x for each row."""
        if self.scheme is None or self.weight_scale is None:
            if self.ordered is not None:
                multiply = partial(product, column_block=column_block)
                return product_in_order(multiply, x_TI, self.weight[...], self.ordered)
            return product(x_TI, self.weight[...], column_block)
        return quantization.quantized_product(
            x_TI,
            self.weight[...],
            self.weight_scale[...],
            None if self.input_scale is None else self.input_scale[...],
            self.scheme,
            column_block,
        )
