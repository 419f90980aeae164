"""The Llama model on an accelerator: the twin of `reference.model.llama`, as a Flax NNX module.

It runs on batches of tokens, (B, T), with a paged KV cache (`jax_backend.model.attention.base`).
Linear layers keep the layout of the checkpoint files, (out, in). Norms, softmax and logits are
computed in float32 for every dtype of the weights.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Float32, Int32

from jax_backend.model import quantization, sharding
from jax_backend.model.attention.base import Attention, Pages
from jax_backend.model.attention.select import for_platform
from jax_backend.model.linear import Linear
from jax_backend.model.products import ROWS, product
from jax_backend.model.vision import Vision
from jax_backend.numerics.reductions import sum_rows
from jax_backend.platform import platform
from reference.model.config import LlamaConfig
from reference.model.quantization_scheme import Scheme

Shapes = jax.ShapeDtypeStruct
CPU_COLUMN_BLOCK = 32


class Layer(nnx.Module):
    """One transformer block. Projections of the same input are fused, concatenated along the output
    axis: fewer and larger products, which are a tenth faster on a CPU at small batch sizes.
    ordered: see `Linear`.
    """

    def __init__(
        self, config: LlamaConfig, dtype: jnp.dtype, index: int, ordered: Mesh | None
    ) -> None:
        D, F, H = config.hidden_size, config.intermediate_size, config.head_dim
        Q, KV = config.num_attention_heads * H, config.num_key_value_heads * H
        self.input_layernorm = nnx.Param(Shapes((D,), dtype))
        q, o, gate, down = (
            scheme_of(config, f"model.layers.{index}.{name}")
            for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")
        )
        self.qkv_proj = Linear(Q + 2 * KV, D, config.attention_bias, dtype, q)
        self.o_proj = Linear(D, Q, config.attention_bias, dtype, o, ordered)
        self.post_attention_layernorm = nnx.Param(Shapes((D,), dtype))
        self.gate_up_proj = Linear(2 * F, D, config.mlp_bias, dtype, gate)
        self.down_proj = Linear(D, F, config.mlp_bias, dtype, down, ordered)
        scalar = Shapes((), jnp.dtype(jnp.float32))
        self.k_scale = None if config.kv_dtype is None else nnx.Param(scalar)
        self.v_scale = None if config.kv_dtype is None else nnx.Param(scalar)

    def quantize(
        self, q: Float[Array, "B T N H"], k: Float[Array, "B T K H"], v: Float[Array, "B T K H"]
    ) -> tuple[Float[Array, "B T N H"], Array, Array]:
        """Return keys and values as in the pages, and queries with the scale of the keys."""
        if self.k_scale is None or self.v_scale is None:
            return q, k, v
        k_scale, v_scale = self.k_scale[...], self.v_scale[...]
        q = (q.astype(jnp.float32) * k_scale).astype(q.dtype)
        return q, quantization.quantize_kv(k, k_scale), quantization.quantize_kv(v, v_scale)

    def dequantize(self, out: Float[Array, "B T N H"]) -> Float[Array, "B T N H"]:
        """Return the output of attention with the scale of the values."""
        if self.v_scale is None:
            return out
        return (out.astype(jnp.float32) * self.v_scale[...]).astype(out.dtype)


def scheme_of(config: LlamaConfig, module: str) -> Scheme | None:
    """Return the scheme of a linear layer, None if it is not quantized."""
    quantized = config.quantization
    return quantized.scheme if quantized is not None and quantized.applies(module) else None


class ImageEmbeddings(NamedTuple):
    """Embeddings that replace those of image tokens in a batch of B rows of T tokens, R = B · T.

    mask: the positions that are replaced.
    """

    rows: Float[Array, "R D"]
    mask: Bool[Array, "R"]


class TokenBlocks(NamedTuple):
    """B blocks of T consecutive tokens, each of one sequence.

    written: the tokens whose keys and values are to be written to the pages. images: embeddings of
    image tokens.
    """

    token: Int32[Array, "B T"]
    position: Int32[Array, "B T"]
    written: Bool[Array, "B T"]
    page_table: Int32[Array, "B M"]
    images: ImageEmbeddings | None = None


class Llama(nnx.Module):
    """A whole model. Parameters have shapes but no data: `jax_backend.model.checkpoint.load` fills
    them.

    attention: None for that of JAX's default platform. mesh: the devices of tensor parallelism,
    None for a single device; `config` is the sharded one (`jax_backend.model.sharding`).

    column_block: of the products of decode rows (`jax_backend.model.linear.product`).
    prefill_block: of those of a prefill launch with at most CPU_COLUMN_BLOCK rows; larger ones are
    faster as rows.
    """

    def __init__(
        self,
        config: LlamaConfig,
        dtype: jnp.dtype,
        attention: Attention | None = None,
        mesh: Mesh | None = None,
    ) -> None:
        self.config, self.mesh, self.devices = config, mesh, sharding.mesh_size(mesh)
        self.column_block = CPU_COLUMN_BLOCK if platform() == "cpu" else ROWS
        self.prefill_block = self.column_block
        V, D = sharding.padded_vocab_size(config, self.devices), config.hidden_size
        device_attention = attention or for_platform(platform())
        self.attention = sharding.shard_attention(device_attention, mesh)
        self.embed_tokens = nnx.Param(Shapes((V, D), dtype))
        ordered, count = sharding.ordered_mesh(mesh), config.num_hidden_layers
        self.layers = nnx.List([Layer(config, dtype, i, ordered) for i in range(count)])
        self.norm = nnx.Param(Shapes((D,), dtype))
        self.lm_head = None if config.tie_word_embeddings else nnx.Param(Shapes((V, D), dtype))
        self.vision = (
            None if config.vision is None else Vision(config.vision, D, dtype, self.devices)
        )
        rotation_shape = (config.max_position_embeddings, 2, config.head_dim // 2)
        self.rotation = nnx.Variable(Shapes(rotation_shape, jnp.dtype(jnp.float32)))

    def hidden_states(
        self, groups: Sequence[TokenBlocks], layers: Sequence[Pages]
    ) -> tuple[list[Float[Array, "B T D"]], list[Pages]]:
        """Run groups of token blocks through all layers. Return the output of the last norm for
        each group, and the pages.

        Each token attends to the positions of its sequence up to its own. Their keys and values are
        in the pages already or are written by this call, in any block of any group.
        """
        config, H = self.config, self.config.head_dim
        N, K = config.num_attention_heads, config.num_key_value_heads
        shapes = [group.token.shape for group in groups]
        rotations = [jnp.moveaxis(self.rotation[...][group.position], 2, 0) for group in groups]
        x = concatenate([self.embed(group) for group in groups])
        block, written = self.block_of([T for _, T in shapes], len(x)), []
        for layer, pages in zip(self.layers, layers, strict=True):
            y = rms_norm(x, layer.input_layernorm[...], config.rms_norm_eps)
            parts = split_rows(layer.qkv_proj(y, block), shapes)
            queries = []
            for part, (cos, sin), group in zip(parts, rotations, groups, strict=True):
                q, k, v = self.split_heads(part, (N, K, K))
                q, k, v = layer.quantize(rotate(q, cos, sin), rotate(k, cos, sin), v)
                pages = self.attention.write(
                    pages, k, v, group.page_table, group.position, group.written
                )
                queries.append(q)
            written.append(pages)
            attended = [
                layer.dequantize(
                    self.attention.attend(
                        q, pages, group.page_table, group.position, config.sliding_window
                    )
                ).reshape(-1, N * H)
                for q, group in zip(queries, groups, strict=True)
            ]
            x = x + layer.o_proj(concatenate(attended), block)
            y = rms_norm(x, layer.post_attention_layernorm[...], config.rms_norm_eps)
            x = x + mlp(y, layer, self.devices, block)
        x = rms_norm(x, self.norm[...], config.rms_norm_eps)
        return split_rows(x, shapes), written

    def embed(self, group: TokenBlocks) -> Float[Array, "R D"]:
        """Return the embeddings of all tokens of a group, R = B · T."""
        x = self.embed_tokens[...][group.token.reshape(-1)]
        if group.images is None:
            return x
        return jnp.where(group.images.mask[:, None], group.images.rows, x)

    def block_of(self, lengths: Sequence[int], rows: int) -> int:
        """Return the column block of a launch of `rows` tokens, by the lengths of its blocks: that
        of decode rows, if it has no others. A single row is fastest as a row.
        """
        if rows == 1 or rows > CPU_COLUMN_BLOCK and set(lengths) != {1}:
            return ROWS
        return self.column_block if set(lengths) == {1} else self.prefill_block

    def logits(self, x_TD: Float[Array, "T D"], column_block: int = ROWS) -> Float32[Array, "T V"]:
        """Compute the logit of every token of the vocabulary as the next one."""
        head = self.embed_tokens if self.lm_head is None else self.lm_head
        logits = product(x_TD, head[...], column_block, jnp.float32)
        if self.mesh is not None:
            logits = sharding.all_gather_logits(logits, self.mesh)
        return logits[:, : self.config.vocab_size]

    def split_heads(
        self, fused_BTO: Float[Array, "B T out"], heads: tuple[int, ...]
    ) -> list[Float[Array, "B T _ H"]]:
        """Split a fused projection into queries, keys and values. Each device has its part of all
        three, in this order.
        """
        (B, T, _), n, H = fused_BTO.shape, self.devices, self.config.head_dim
        ends = [sum(heads[: i + 1]) // n for i in range(len(heads) - 1)]
        parts = jnp.split(fused_BTO.reshape(B, T, n, -1, H), ends, axis=3)
        return [part.reshape(B, T, -1, H) for part in parts]


def concatenate(parts: Sequence[Float[Array, "_ D"]]) -> Float[Array, "R D"]:
    """Concatenate rows."""
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def split_rows(
    x_RD: Float[Array, "R D"], shapes: Sequence[tuple[int, ...]]
) -> list[Float[Array, "B T D"]]:
    """Split rows into groups of B blocks of T rows, for each (B, T)."""
    ends = np.cumsum([B * T for B, T in shapes])[:-1].tolist()
    parts = jnp.split(x_RD, ends) if ends else [x_RD]
    return [part.reshape(*shape, -1) for part, shape in zip(parts, shapes, strict=True)]


def rms_norm(
    x_TD: Float[Array, "T D"], weight: Float[Array, "D"], eps: float
) -> Float[Array, "T D"]:
    """Divide each row by its root mean square, in float32."""
    x = x_TD.astype(jnp.float32)
    mean_square = sum_rows(x * x)[:, None] / x.shape[1]
    return (x / jnp.sqrt(mean_square + eps)).astype(x_TD.dtype) * weight[None]


def mlp(
    x_TD: Float[Array, "T D"], layer: Layer, devices: int = 1, column_block: int = ROWS
) -> Float[Array, "T D"]:
    """SwiGLU: down(silu(gate(x)) · up(x)). On each device, its gates come before its ups."""
    T, fused = len(x_TD), layer.gate_up_proj(x_TD, column_block)
    gate, up = jnp.split(fused.reshape(T, devices, -1), 2, axis=2)
    return layer.down_proj((jax.nn.silu(gate) * up).reshape(T, -1), column_block)


def rotate(
    x_BTNH: Float[Array, "B T N H"],
    cos_BTR: Float32[Array, "B T R"],
    sin_BTR: Float32[Array, "B T R"],
) -> Float[Array, "B T N H"]:
    """Rotate each pair (r, r + H/2) by its angle."""
    a, b = jnp.split(x_BTNH.astype(jnp.float32), 2, axis=-1)
    cos, sin = cos_BTR[:, :, None], sin_BTR[:, :, None]
    rotated = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
    return rotated.astype(x_BTNH.dtype)


def rotation(config: LlamaConfig) -> Float32[np.ndarray, "S 2 R"]:
    """Compute cosine and sine of each pair's angle at every position of the context, rounded as in
    the reference: the product in float32, its cosine in float64.
    """
    positions = np.arange(config.max_position_embeddings, dtype=np.float32)
    angles = (positions[:, None] * rope_frequencies(config)).astype(np.float64)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def rope_frequencies(config: LlamaConfig) -> Float32[np.ndarray, "R"]:
    """Return the rotation of each of the R = H / 2 pairs of a head per position, in radians. It is
    computed once, on the host. `reference.model.llama.rope_frequencies` explains the kinds.
    """
    rope = config.rope
    exponent = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    power = np.float64(np.float32(rope.theta)) ** exponent.astype(np.float64)
    frequency = 1 / power.astype(np.float32)
    if rope.kind == "default":
        return frequency
    divided = frequency / rope.factor
    if rope.kind == "linear":
        return divided
    low, high = rope.low_freq_factor, rope.high_freq_factor
    rotations = rope.original_max_position_embeddings / (2 * math.pi / frequency)
    share = np.clip((rotations - low) / (high - low), 0, 1)
    return ((1 - share) * divided + share * frequency).astype(np.float32)
