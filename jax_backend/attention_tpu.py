"""Attention over a paged cache on a TPU: JAX's own kernel, `ragged_paged_attention`.

Pages hold a position's keys and values side by side, (P, S, 2·K, H): key and value of head 0, of
head 1, …; head_dim is padded to a multiple of 128, the lanes of a TPU. The kernel takes queries one
sequence behind the other; each sequence's last query is at the end of its keys.
"""

import contextlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.ragged_paged_attention import ragged_paged_attention
from jaxtyping import Array, Bool, Float, Int32

from jax_backend.attention import Attention, padded
from reference.config import LlamaConfig

LANES = 128
POSITIONS = 512  # keys in a block, about
QUERIES = 32  # in a block, at most
VMEM = 64 * 2**20


def empty(
    config: LlamaConfig, count: int, size: int, dtype: jnp.dtype
) -> Float[Array, "P S C H"]:
    """Pages of zeros."""
    K = config.num_key_value_heads
    # Of rows that are 32 bits high, the kernel takes 1, 2, 4 or a multiple of 8.
    rows = 2 * K * jnp.dtype(dtype).itemsize // 4
    if rows not in (1, 2, 4) and rows % 8:
        raise ValueError(f"num_key_value_heads: a TPU's kernel does not take {K} of {dtype}")
    return jnp.zeros((count, size, 2 * K, -(-config.head_dim // LANES) * LANES), dtype)


def write(
    pages: Float[Array, "P S C H"],
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    written_BT: Bool[Array, "B T"],
) -> Float[Array, "P S C H"]:
    """Put keys and values where they belong."""
    (B, T, K, _), (_, size, _, H) = k_BTKH.shape, pages.shape
    kv_BTCH = padded(jnp.stack([k_BTKH, v_BTKH], axis=3), H).reshape(B, T, 2 * K, H)
    page_BT = jnp.take_along_axis(tables_BM, positions_BT // size, axis=1)
    page_BT, at_BT = jnp.where(written_BT, page_BT, 0), positions_BT % size
    return pages.at[page_BT, at_BT].set(kv_BTCH.astype(pages.dtype))


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: Float[Array, "P S C H"],
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
    kernel: Callable[..., Array] = ragged_paged_attention,
) -> Float[Array, "B T N H"]:
    """Each row is a sequence of its queries that are real; 0 for the others. kernel: that of JAX,
    or what stands in for it.
    """
    (B, T, N, H), (_, S, _, wide) = q_BTNH.shape, pages.shape
    M, i = tables_BM.shape[1], jnp.arange(T)
    real_BT = positions_BT == positions_BT[:, :1] + i  # a query that pads repeats the first's
    counts_B = real_BT.sum(axis=1)
    stops_B = jnp.cumsum(counts_B)
    at_BT = jnp.where(real_BT, (stops_B - counts_B)[:, None] + i, B * T)
    q_XNH = jnp.zeros((B * T, N, wide), pages.dtype)
    q_XNH = q_XNH.at[at_BT].set(padded(q_BTNH, wide).astype(pages.dtype), mode="drop")
    with exact(pages.dtype):
        out_XNH = kernel(
            q_XNH,
            pages,
            (positions_BT[:, 0] + counts_B).astype(jnp.int32),
            tables_BM,
            jnp.pad(stops_B, (1, 0)).astype(jnp.int32),
            jnp.array([B], jnp.int32),
            sm_scale=H**-0.5,
            sliding_window=window,
            num_kv_pages_per_block=min(M, max(1, POSITIONS // S)),
            num_queries_per_block=min(B * T, QUERIES),
            vmem_limit_bytes=VMEM,
        )
    out_BTNH = out_XNH.at[at_BT].get(mode="fill", fill_value=0)
    return out_BTNH[..., :H].astype(q_BTNH.dtype)


def exact(dtype: jnp.dtype) -> contextlib.AbstractContextManager[None]:
    """Has a TPU multiply float32 as such: by itself it would round both sides to bfloat16."""
    if dtype == jnp.float32:
        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


TPU = Attention(empty, write, attend)
