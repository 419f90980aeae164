"""Attention over a paged KV cache on a TPU: JAX's own kernel, `ragged_paged_attention`.

The kernel takes heads of 128 numbers and only some numbers of heads; the difference is padded with
zeros. It takes the queries of all sequences concatenated, (X, N, H). The last query of a sequence
is at the end of its keys.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import (
    ragged_paged_attention,
)
from jaxtyping import Array, Bool, Float, Int32

from jax_backend.model.attention.base import Attention, padded
from reference.model.config import LlamaConfig

LANES = 128
KEYS_PER_BLOCK = 512  # about
MAX_QUERIES_PER_BLOCK = 32


@partial(jax.tree_util.register_dataclass, data_fields=["kv"], meta_fields=["heads"])
@dataclass(frozen=True)
class InterleavedKV:
    """kv: key and value of head 0, key and value of head 1, … heads: KV heads without padding."""

    kv: Any  # Float[Array, "P S C H"], or a placeholder of JAX
    heads: int


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> InterleavedKV:
    """Allocate pages of zeros."""
    if config.head_dim > LANES:
        raise ValueError(f"head_dim: must be at most {LANES} on a TPU, got {config.head_dim}")
    if jnp.dtype(dtype).itemsize == 1:
        raise ValueError("kv_dtype: an fp8 KV cache is not supported on a TPU")
    K = config.num_key_value_heads
    return InterleavedKV(jnp.zeros((count, size, 2 * padded_kv_heads(K, dtype), LANES), dtype), K)


def padded_kv_heads(K: int, dtype: jnp.dtype) -> int:
    """Return the number of KV heads of a page: a power of two up to a tile, above that whole tiles.
    A tile is 8 rows of 32 bits of keys and values.
    """
    tile = 16 // jnp.dtype(dtype).itemsize
    return 1 << (K - 1).bit_length() if K <= tile else -(-K // tile) * tile


def write(
    pages: InterleavedKV,
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    page_tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    written_BT: Bool[Array, "B T"],
) -> InterleavedKV:
    """Store keys and values in their pages."""
    (B, T, _, _), (_, size, C, H) = k_BTKH.shape, pages.kv.shape
    kv_BTKxH = padded(jnp.stack([k_BTKH, v_BTKH], axis=3), (B, T, C // 2, 2, H))
    kv_BTCH = kv_BTKxH.reshape(B, T, C, H).astype(pages.kv.dtype)
    page_BT = jnp.take_along_axis(page_tables_BM, positions_BT // size, axis=1)
    page_BT, offset_BT = jnp.where(written_BT, page_BT, 0), positions_BT % size
    return InterleavedKV(pages.kv.at[page_BT, offset_BT].set(kv_BTCH), pages.heads)


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: InterleavedKV,
    page_tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
    kernel: Callable[..., Float[Array, "X N H"]] = ragged_paged_attention,
) -> Float[Array, "B T N H"]:
    """Attend with JAX's kernel, each row a sequence of its valid queries. The output of padding
    is 0. kernel: a parameter for tests.
    """
    (B, T, N, H), (_, S, C, padded_H) = q_BTNH.shape, pages.kv.shape
    M, K, G = page_tables_BM.shape[1], pages.heads, N // pages.heads
    q_BTKGH = q_BTNH.reshape(B, T, K, G, H).astype(pages.kv.dtype)
    if q_BTKGH.dtype == jnp.float32:
        G += G % 2  # Pallas refuses the blocks of an odd number of heads: they are too small
    q_BTKGH = padded(q_BTKGH, (B, T, C // 2, G, padded_H))

    # Concatenate the valid queries of all rows. Padding is scattered out of bounds and dropped.
    i_xT = jnp.arange(T, dtype=jnp.int32)[None]
    valid_BT = positions_BT == positions_BT[:, :1] + i_xT
    counts_B = valid_BT.sum(axis=1, dtype=jnp.int32)
    stops_B = jnp.cumsum(counts_B, dtype=jnp.int32)
    target_BT = jnp.where(valid_BT, (stops_B - counts_B)[:, None] + i_xT, B * T)
    q_XNH = jnp.zeros((B * T, C // 2 * G, padded_H), q_BTKGH.dtype)
    q_XNH = q_XNH.at[target_BT].set(q_BTKGH.reshape(B, T, -1, padded_H), mode="drop")
    with float32_matmul_precision(q_XNH.dtype):
        out_XNH = kernel(
            q_XNH,
            pages.kv,
            positions_BT[:, 0] + counts_B,
            page_tables_BM,
            jnp.pad(stops_B, (1, 0)),
            jnp.array([B], jnp.int32),
            sm_scale=H**-0.5,
            sliding_window=window,
            num_kv_pages_per_block=min(M, max(1, KEYS_PER_BLOCK // S)),
            num_queries_per_block=min(B * T, MAX_QUERIES_PER_BLOCK),
        )
    out_BTNH = out_XNH.at[target_BT].get(mode="fill", fill_value=0)
    out_BTKGH = out_BTNH.reshape(B, T, C // 2, G, padded_H)[:, :, :K, : N // K, :H]
    return out_BTKGH.reshape(B, T, N, H).astype(q_BTNH.dtype)


def float32_matmul_precision(dtype: jnp.dtype) -> contextlib.AbstractContextManager[None]:
    """Make a TPU multiply float32 in full precision. Its default rounds factors to bfloat16."""
    if dtype == jnp.float32:
        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


TPU = Attention(empty, write, attend, heads_axis=2)
