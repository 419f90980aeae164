"""CLIP's vision tower and LLaVA's projector in Flax NNX: the twin of `reference.model.vision`, for
batches of images. The parts are explained there.

The images of a batch are independent of each other. Norms and softmax are computed in float32 for
every dtype of the weights.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32

from jax_backend.model.linear import Linear
from jax_backend.model.products import ROWS, product
from jax_backend.numerics.reductions import sum_rows
from reference.model.vision_config import VisionConfig

Shapes = jax.ShapeDtypeStruct


class Norm(nnx.Module):
    """Weight and bias of a layer norm."""

    def __init__(self, size: int, dtype: jnp.dtype) -> None:
        self.weight = nnx.Param(Shapes((size,), dtype))
        self.bias = nnx.Param(Shapes((size,), dtype))


class VisionLayer(nnx.Module):
    """One block of the tower. The projections of queries, keys and values are fused, concatenated
    along the output axis.
    """

    def __init__(self, config: VisionConfig, dtype: jnp.dtype) -> None:
        C, G = config.hidden_size, config.intermediate_size
        self.layer_norm1 = Norm(C, dtype)
        self.qkv_proj = Linear(3 * C, C, True, dtype)
        self.out_proj = Linear(C, C, True, dtype)
        self.layer_norm2 = Norm(C, dtype)
        self.fc1 = Linear(G, C, True, dtype)
        self.fc2 = Linear(C, G, True, dtype)


class Vision(nnx.Module):
    """Vision tower and projector, from pixels to image embeddings of size D. Parameters have
    shapes but no data, as in `Llama`. devices: the degree of tensor parallelism.
    """

    def __init__(self, config: VisionConfig, D: int, dtype: jnp.dtype, devices: int = 1) -> None:
        C, patch, bias = config.hidden_size, config.patch_size, config.projector_bias
        self.config, self.devices = config, devices
        self.class_embedding = nnx.Param(Shapes((C,), dtype))
        self.patch_embedding = nnx.Param(Shapes((C, 3, patch, patch), dtype))
        self.position_embedding = nnx.Param(Shapes((config.num_patches + 1, C), dtype))
        self.pre_layernorm = Norm(C, dtype)
        self.layers = nnx.List(
            [VisionLayer(config, dtype) for _ in range(config.num_computed_layers)]
        )
        self.linear_1 = Linear(D, C * len(config.feature_layers), bias, dtype)
        self.linear_2 = Linear(D, D, bias, dtype)

    def features(self, pixels_B3SS: Float32[Array, "B 3 S S"]) -> Float[Array, "B I D"]:
        """Compute the embeddings of the image tokens, for each image."""
        config, B = self.config, len(pixels_B3SS)
        states = self.tower(pixels_B3SS)
        first = 0 if config.keeps_class_token else 1
        features = jnp.concatenate([states[i][:, first:] for i in config.feature_layers], axis=2)
        hidden = self.linear_1(features.reshape(B * config.tokens_per_image, -1))
        rows = self.linear_2(activation(hidden, config.projector_act))
        return rows.reshape(B, config.tokens_per_image, -1)

    def tower(self, pixels_B3SS: Float32[Array, "B 3 S S"]) -> list[Float[Array, "B P C"]]:
        """Return the hidden states before the first layer and after each layer that is computed."""
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
        """Embed the class token and each patch, with their positions."""
        config, B = self.config, len(pixels_B3SS)
        C, size = config.hidden_size, config.patch_size
        side = config.image_size // size
        kernel = self.patch_embedding[...]
        cropped = pixels_B3SS[:, :, : side * size, : side * size].astype(kernel.dtype)
        patches = cropped.reshape(B, 3, side, size, side, size).transpose(0, 2, 4, 1, 3, 5)
        rows = product(patches.reshape(B * side * side, -1), kernel.reshape(C, -1), ROWS)
        class_token = jnp.broadcast_to(self.class_embedding[...], (B, 1, C))
        x = jnp.concatenate([class_token, rows.reshape(B, -1, C)], axis=1)
        return x + self.position_embedding[...][None]


def attention(
    x_RC: Float[Array, "R C"], layer: VisionLayer, images: int, heads: int, devices: int
) -> Float[Array, "R C"]:
    """Attend without a mask within each image; the rows are image after image. On each device, its
    queries come before its keys and values.
    """
    heads_per_device, H = heads // devices, x_RC.shape[1] // heads
    parts = layer.qkv_proj(x_RC).reshape(images, -1, devices, 3, heads_per_device, H)
    q, k, v = (parts[:, :, :, i].reshape(images, -1, heads, H) for i in range(3))
    scores = jnp.einsum(
        "bpnh,bqnh->bnpq",
        q * q.shape[-1] ** -0.5,
        k,
        precision="highest",
        preferred_element_type=jnp.float32,
    )
    weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = weights / sum_rows(weights)[..., None]
    out = jnp.einsum("bnpq,bqnh->bpnh", weights.astype(v.dtype), v, precision="highest")
    return layer.out_proj(out.reshape(x_RC.shape))


def layer_norm(x_RC: Float[Array, "R C"], norm: Norm, eps: float) -> Float[Array, "R C"]:
    """Subtract the mean of each row and divide by its standard deviation, in float32."""
    x, C = x_RC.astype(jnp.float32), x_RC.shape[1]
    centered = x - sum_rows(x)[:, None] / C
    variance = sum_rows(centered * centered)[:, None] / C
    normal = (centered / jnp.sqrt(variance + eps)).astype(x_RC.dtype)
    return normal * norm.weight[...][None] + norm.bias[...][None]


def activation(x: Float[Array, "R F"], kind: str) -> Float[Array, "R F"]:
    """Apply gelu or quick_gelu, in float32."""
    x_float32 = x.astype(jnp.float32)
    if kind == "quick_gelu":
        return (x_float32 * jax.nn.sigmoid(1.702 * x_float32)).astype(x.dtype)
    return jax.nn.gelu(x_float32, approximate=False).astype(x.dtype)
