"""Attention over a paged KV cache on a TPU: JAX's own kernel, `ragged_paged_attention`.

The kernel takes heads of 128 numbers. As many smaller heads as fit are one wide head: a cache with
heads of 64 numbers is not padded. Each query is zero in the parts of the other heads, so its scores
are those of its own, and of its output only its own part is used. The products are no larger than
with padding. The kernel takes only some numbers of heads; the difference is padded with zeros.

It takes the queries of all sequences concatenated, (X, N, H). The last query of a sequence is at
the end of its keys. Page tables are in the scalar memory of the TPU, which limits their size.
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

from jax_backend.model.attention.base import PAGE_SIZE, Attention, padded
from reference.model.config import LlamaConfig

LANES = 128
KEYS_PER_BLOCK = 512  # about
MAX_QUERIES_PER_BLOCK = 32
SCALAR_MEMORY = 2**20  # bytes, of every TPU from version 4 on


@partial(jax.tree_util.register_dataclass, data_fields=["kv"], meta_fields=["heads"])
@dataclass(frozen=True)
class InterleavedKV:
    """kv: key and value of wide head 0, key and value of wide head 1, … heads: KV heads, neither
    wide nor padded.
    """

    kv: Any  # Float[Array, "P S C H"], or a placeholder of JAX
    heads: int


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> InterleavedKV:
    """Allocate pages of zeros."""
    if config.head_dim > LANES:
        raise ValueError(f"head_dim: must be at most {LANES} on a TPU, got {config.head_dim}")
    if jnp.dtype(dtype).itemsize == 1:
        raise ValueError("kv_dtype: an fp8 KV cache is not supported on a TPU")
    K = config.num_key_value_heads
    wide = -(-K // heads_per_wide_head(config.head_dim))
    return InterleavedKV(
        jnp.zeros((count, size, 2 * padded_kv_heads(wide, dtype), LANES), dtype), K
    )


def page_size(rows: int, context: int) -> int:
    """Return the smallest page size, at least PAGE_SIZE, with which the page tables of a launch
    take at most half of the scalar memory. Raises ValueError, naming the field, without one.
    """
    if 4 * rows * LANES > SCALAR_MEMORY // 2:
        limit = SCALAR_MEMORY // 2 // 4 // LANES
        raise ValueError(f"slots: must be at most {limit} on a TPU, got {rows}")
    size = PAGE_SIZE
    while 4 * rows * (-(-context // (size * LANES)) * LANES) > SCALAR_MEMORY // 2:
        size *= 2
    return size


def heads_per_wide_head(H: int) -> int:
    """Return how many heads of H numbers a wide head has."""
    return LANES // H


def widened(x_BTKxH: Float[Array, "B T K *_ H"]) -> Float[Array, "B T wide f *_ H"]:
    """Group the KV heads by wide head, f heads each, padded with zeros."""
    (B, T, K), f = x_BTKxH.shape[:3], heads_per_wide_head(x_BTKxH.shape[-1])
    wide = -(-K // f)
    rest = x_BTKxH.shape[3:]
    return padded(x_BTKxH, (B, T, wide * f, *rest)).reshape(B, T, wide, f, *rest)


def padded_kv_heads(K: int, dtype: jnp.dtype) -> int:
    """Return the number of wide heads of a page: a power of two up to a tile, above that whole
    tiles. A tile is 8 rows of 32 bits of keys and values.
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
    (B, T), (_, size, C, L) = k_BTKH.shape[:2], pages.kv.shape
    k, v = (widened(x) for x in (k_BTKH, v_BTKH))
    k, v = (x.reshape(*x.shape[:3], -1) for x in (k, v))
    kv_BTWxL = padded(jnp.stack([k, v], axis=3), (B, T, C // 2, 2, L))
    kv_BTCH = kv_BTWxL.reshape(B, T, C, L).astype(pages.kv.dtype)
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
    (B, T, N, H), (_, S, C, L) = q_BTNH.shape, pages.kv.shape
    M, K, G = page_tables_BM.shape[1], pages.heads, N // pages.heads
    f = heads_per_wide_head(H)
    q_BTWfGH = widened(q_BTNH.reshape(B, T, K, G, H).astype(pages.kv.dtype))
    W, own = q_BTWfGH.shape[2], jnp.eye(f, dtype=jnp.bool_).reshape(1, 1, 1, f, 1, f, 1)
    # The queries of a wide head, R = f · G, zero outside of the part of its own head.
    q_BTWRH = jnp.where(own, q_BTWfGH[..., None, :], 0).reshape(B, T, W, f * G, f * H)
    R = f * G
    if q_BTWRH.dtype == jnp.float32:
        R += R % 2  # Pallas refuses the blocks of an odd number of heads: they are too small
    q_BTWRL = padded(q_BTWRH, (B, T, C // 2, R, L))

    # Concatenate the valid queries of all rows. Padding is scattered out of bounds and dropped.
    i_xT = jnp.arange(T, dtype=jnp.int32)[None]
    valid_BT = positions_BT == positions_BT[:, :1] + i_xT
    counts_B = valid_BT.sum(axis=1, dtype=jnp.int32)
    stops_B = jnp.cumsum(counts_B, dtype=jnp.int32)
    target_BT = jnp.where(valid_BT, (stops_B - counts_B)[:, None] + i_xT, B * T)
    q_XNH = jnp.zeros((B * T, C // 2 * R, L), q_BTWRL.dtype)
    q_XNH = q_XNH.at[target_BT].set(q_BTWRL.reshape(B, T, -1, L), mode="drop")
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
    out_BTWRH = out_BTNH.reshape(B, T, C // 2, R, L)[:, :, :W, : f * G, : f * H]
    out_BTWGHf = jnp.diagonal(out_BTWRH.reshape(B, T, W, f, G, f, H), axis1=3, axis2=5)
    out_BTKGH = jnp.moveaxis(out_BTWGHf, -1, 3).reshape(B, T, W * f, G, H)[:, :, :K]
    return out_BTKGH.reshape(B, T, N, H).astype(q_BTNH.dtype)


def float32_matmul_precision(dtype: jnp.dtype) -> contextlib.AbstractContextManager[None]:
    """Make a TPU multiply float32 in full precision. Its default rounds factors to bfloat16."""
    if dtype == jnp.float32:
        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


TPU = Attention(empty, write, attend, heads_axis=2, page_size=page_size)
