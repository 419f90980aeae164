"""CLIP's vision tower and LLaVA's projector in Flax NNX: the twin of `reference.model.vision`, for
batches of images. What the parts are is explained there.

Images do not meet: nothing of one depends on another. Norms and softmax are computed in float32
whatever the dtype of the weights.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from jax_backend.model.linear import Linear, product
from jax_backend.numerics.reductions import row_sum
from reference.model.vision_config import VisionConfig

Shapes = jax.ShapeDtypeStruct


class Norm(nnx.Module):
    """A layer norm's w and b."""

    def __init__(self, width: int, dtype: jnp.dtype) -> None:
        self.weight = nnx.Param(Shapes((width,), dtype))
        self.bias = nnx.Param(Shapes((width,), dtype))


class VisionLayer(nnx.Module):
    """One block of the tower. Queries, keys and values are one matrix, part below part."""

    def __init__(self, config: VisionConfig, dtype: jnp.dtype) -> None:
        C, G = config.hidden_size, config.intermediate_size
        self.layer_norm1 = Norm(C, dtype)
        self.qkv_proj = Linear(3 * C, C, True, dtype)
        self.out_proj = Linear(C, C, True, dtype)
        self.layer_norm2 = Norm(C, dtype)
        self.fc1 = Linear(G, C, True, dtype)
        self.fc2 = Linear(C, G, True, dtype)


class Vision(nnx.Module):
    """From pixels to rows of a prompt, of width D. Made without data, like `Llama`. devices: how
    many hold it together.
    """

    def __init__(self, config: VisionConfig, D: int, dtype: jnp.dtype, devices: int = 1) -> None:
        C, patch, bias = config.hidden_size, config.patch_size, config.projector_bias
        self.config, self.devices = config, devices
        self.class_embedding = nnx.Param(Shapes((C,), dtype))
        self.patch_embedding = nnx.Param(Shapes((C, 3, patch, patch), dtype))
        self.position_embedding = nnx.Param(Shapes((config.patches + 1, C), dtype))
        self.pre_layernorm = Norm(C, dtype)
        self.layers = nnx.List([VisionLayer(config, dtype) for _ in range(config.layers)])
        self.linear_1 = Linear(D, C * len(config.feature_layers), bias, dtype)
        self.linear_2 = Linear(D, D, bias, dtype)

    def features(self, pixels_B3SS: Float32[Array, "B 3 S S"]) -> Float[Array, "B I D"]:
        """The rows that stand in a prompt for each image."""
        config, B = self.config, len(pixels_B3SS)
        states = self.tower(pixels_B3SS)
        first = 0 if config.keeps_class else 1
        chosen = jnp.concatenate([states[i][:, first:] for i in config.feature_layers], axis=2)
        hidden = self.linear_1(chosen.reshape(B * config.rows, -1))
        rows = self.linear_2(activation(hidden, config.projector_act))
        return rows.reshape(B, config.rows, -1)

    def tower(self, pixels_B3SS: Float32[Array, "B 3 S S"]) -> list[Float[Array, "B P C"]]:
        """The states before the first layer and after each that is computed."""
        config, B = self.config, len(pixels_B3SS)
        x = self.embedding(pixels_B3SS).reshape(-1, config.hidden_size)
        x = layer_norm(x, self.pre_layernorm, config.layer_norm_eps)
        states = [x.reshape(B, -1, config.hidden_size)]
        for layer in self.layers:
            y = layer_norm(x, layer.layer_norm1, config.layer_norm_eps)
            x = x + attention(y, layer, B, config.num_attention_heads, self.devices)
            y = layer_norm(x, layer.layer_norm2, config.layer_norm_eps)
            x = x + layer.fc2(activation(layer.fc1(y), config.hidden_act))
            states.append(x.reshape(B, -1, config.hidden_size))
        return states

    def embedding(self, pixels_B3SS: Float32[Array, "B 3 S S"]) -> Float[Array, "B P C"]:
        """The class token and a row for each patch, with their positions."""
        config, B = self.config, len(pixels_B3SS)
        C, size = config.hidden_size, config.patch_size
        side = config.image_size // size
        kernel = self.patch_embedding[...]
        whole = pixels_B3SS[:, :, : side * size, : side * size].astype(kernel.dtype)
        patches = whole.reshape(B, 3, side, size, side, size).transpose(0, 2, 4, 1, 3, 5)
        rows = product(patches.reshape(B * side * side, -1), kernel.reshape(C, -1))
        first = jnp.broadcast_to(self.class_embedding[...], (B, 1, C))
        x = jnp.concatenate([first, rows.reshape(B, -1, C)], axis=1)
        return x + self.position_embedding[...][None]


def attention(
    x_RC: Float[Array, "R C"], layer: VisionLayer, images: int, heads: int, devices: int
) -> Float[Array, "R C"]:
    """Every position of an image attends to every other of it; the rows are image after image. Each
    device has its queries before its keys and values.
    """
    own, H = heads // devices, x_RC.shape[1] // heads
    parts = layer.qkv_proj(x_RC).reshape(images, -1, devices, 3, own, H)
    q, k, v = (parts[:, :, :, i].reshape(images, -1, heads, H) for i in range(3))
    scores = jnp.einsum(
        "bpnh,bqnh->bnpq",
        q * q.shape[-1] ** -0.5,
        k,
        precision="highest",
        preferred_element_type=jnp.float32,
    )
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / row_sum(weights)[..., None]
    out = jnp.einsum("bnpq,bqnh->bpnh", weights.astype(v.dtype), v, precision="highest")
    return layer.out_proj(out.reshape(x_RC.shape))


def layer_norm(x_RC: Float[Array, "R C"], norm: Norm, eps: float) -> Float[Array, "R C"]:
    """Each row less its mean, over its standard deviation, in float32."""
    x, C = x_RC.astype(jnp.float32), x_RC.shape[1]
    centred = x - row_sum(x)[:, None] / C
    variance = row_sum(centred * centred)[:, None] / C
    normal = (centred / jnp.sqrt(variance + eps)).astype(x_RC.dtype)
    return normal * norm.weight[...][None] + norm.bias[...][None]


def activation(x: Float[Array, "R F"], kind: str) -> Float[Array, "R F"]:
    """gelu or quick_gelu, in float32."""
    wide = x.astype(jnp.float32)
    if kind == "quick_gelu":
        return (wide * jax.nn.sigmoid(1.702 * wide)).astype(x.dtype)
    return jax.nn.gelu(wide, approximate=False).astype(x.dtype)
