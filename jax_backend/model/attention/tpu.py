"""Attention over a paged cache on a TPU: JAX's own kernel, `ragged_paged_attention`.

The kernel takes heads of 128 numbers, and only some numbers of heads: what is missing are zeros. It
takes queries one sequence behind the other, (X, N, H), of which each sequence's last stands at the
end of its keys.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import (
    ragged_paged_attention,
)
from jaxtyping import Array, Bool, Float, Int32

from jax_backend.model.attention.cpu import Attention, padded
from reference.model.config import LlamaConfig

LANES = 128
POSITIONS = 512  # keys in a block, about
QUERIES = 32  # in a block, at most


@partial(jax.tree_util.register_dataclass, data_fields=["kv"], meta_fields=["heads"])
@dataclass(frozen=True)
class Pairs:
    """kv: key and value of head 0, key and value of head 1, … heads: how many are the model's."""

    kv: Float[Array, "P S C H"]
    heads: int


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> Pairs:
    """Pages of zeros."""
    if config.head_dim > LANES:
        raise ValueError(f"head_dim: {config.head_dim} is more than a TPU's kernel takes, {LANES}")
    K = config.num_key_value_heads
    return Pairs(jnp.zeros((count, size, 2 * held(K, dtype), LANES), dtype), K)


def held(K: int, dtype: jnp.dtype) -> int:
    """The heads of a page: a power of two up to a tile, which is 8 rows of 32 bits of keys and
    values, or whole tiles.
    """
    tile = 16 // jnp.dtype(dtype).itemsize
    return 1 << (K - 1).bit_length() if K <= tile else -(-K // tile) * tile


def write(
    pages: Pairs,
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    written_BT: Bool[Array, "B T"],
) -> Pairs:
    """Put keys and values where they belong."""
    (B, T, _, _), (_, size, C, H) = k_BTKH.shape, pages.kv.shape
    kv_BTKxH = padded(jnp.stack([k_BTKH, v_BTKH], axis=3), (B, T, C // 2, 2, H))
    kv_BTCH = kv_BTKxH.reshape(B, T, C, H).astype(pages.kv.dtype)
    page_BT = jnp.take_along_axis(tables_BM, positions_BT // size, axis=1)
    page_BT, at_BT = jnp.where(written_BT, page_BT, 0), positions_BT % size
    return Pairs(pages.kv.at[page_BT, at_BT].set(kv_BTCH), pages.heads)


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: Pairs,
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
    kernel: Callable[..., Float[Array, "X N H"]] = ragged_paged_attention,
) -> Float[Array, "B T N H"]:
    """Each row is a sequence of its queries but those that pad, whose part is 0. kernel: JAX's, or
    what stands in for it.
    """
    (B, T, N, H), (_, S, C, wide) = q_BTNH.shape, pages.kv.shape
    M, K, G = tables_BM.shape[1], pages.heads, N // pages.heads
    q_BTKGH = q_BTNH.reshape(B, T, K, G, H).astype(pages.kv.dtype)
    if q_BTKGH.dtype == jnp.float32:
        G += G % 2  # the kernel's blocks of an odd number are too small for Pallas
    q_BTKGH = padded(q_BTKGH, (B, T, C // 2, G, wide))

    i_xT = jnp.arange(T, dtype=jnp.int32)[None]
    real_BT = positions_BT == positions_BT[:, :1] + i_xT
    counts_B = real_BT.sum(axis=1, dtype=jnp.int32)
    stops_B = jnp.cumsum(counts_B, dtype=jnp.int32)
    at_BT = jnp.where(real_BT, (stops_B - counts_B)[:, None] + i_xT, B * T)
    q_XNH = jnp.zeros((B * T, C // 2 * G, wide), q_BTKGH.dtype)
    q_XNH = q_XNH.at[at_BT].set(q_BTKGH.reshape(B, T, -1, wide), mode="drop")
    with exact(q_XNH.dtype):
        out_XNH = kernel(
            q_XNH,
            pages.kv,
            positions_BT[:, 0] + counts_B,
            tables_BM,
            jnp.pad(stops_B, (1, 0)),
            jnp.array([B], jnp.int32),
            sm_scale=H**-0.5,
            sliding_window=window,
            num_kv_pages_per_block=min(M, max(1, POSITIONS // S)),
            num_queries_per_block=min(B * T, QUERIES),
        )
    out_BTNH = out_XNH.at[at_BT].get(mode="fill", fill_value=0)
    out_BTKGH = out_BTNH.reshape(B, T, C // 2, G, wide)[:, :, :K, : N // K, :H]
    return out_BTKGH.reshape(B, T, N, H).astype(q_BTNH.dtype)


def exact(dtype: jnp.dtype) -> contextlib.AbstractContextManager[None]:
    """Has a TPU multiply float32 as such: by itself it would round both sides to bfloat16."""
    if dtype == jnp.float32:
        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


TPU = Attention(empty, write, attend, heads=2)
