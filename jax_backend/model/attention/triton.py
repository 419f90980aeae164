"""Attention over a paged KV cache on a GPU: a Pallas kernel, compiled by Triton.

Pages have the CPU's layout, with head_dim padded to a power of two, as Triton requires.

    queries (B, T, N, H)  →  (B, K, R, H): the R = T · N/K queries of a row that share a KV head
    grid (B·K, blocks of R, splits of the context): each program loops over its blocks of keys
    a reduction over the splits  →  (B, T, N, H)

Blocks and splits (`jax_backend.model.attention.splits`) depend on shapes only. JAX 0.11 deprecated
this compiler: decision 41.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Bool, Float, Int32

from jax_backend.model.attention import cpu
from jax_backend.model.attention.base import KV, MASK_VALUE, Attention, padded
from jax_backend.model.attention.splits import SplitSums, combine_splits, split_size
from reference.model.config import LlamaConfig

MIN_BLOCK = 16  # the smallest size of a tensor-core product, in each of its three dimensions
MAX_BLOCK = 64  # queries or keys
MAX_BLOCK_BYTES = 16 * 2**10  # a GPU's shared memory has to hold about five blocks
WARPS, STAGES = 4, 2


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> KV:
    """Allocate pages of zeros."""
    if size % MIN_BLOCK:
        raise ValueError(f"page_size: must be a multiple of {MIN_BLOCK} on a GPU, got {size}")
    H = max(MIN_BLOCK, next_power_of_two(config.head_dim))
    shape = (count, config.num_key_value_heads, size, H)
    return KV(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def write(
    pages: KV,
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    page_tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    written_BT: Bool[Array, "B T"],
) -> KV:
    """Store keys and values in their pages."""
    shape = (*k_BTKH.shape[:3], pages.k.shape[3])
    k_BTKH, v_BTKH = padded(k_BTKH, shape), padded(v_BTKH, shape)
    return cpu.write(pages, k_BTKH, v_BTKH, page_tables_BM, positions_BT, written_BT)


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: KV,
    page_tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """Attend with the Triton kernel. interpret: run it without a GPU, slowly."""
    (B, T, N, H), (K, padded_H) = q_BTNH.shape, (pages.k.shape[1], pages.k.shape[3])
    R = T * N // K
    block_q = max(MIN_BLOCK, min(next_power_of_two(R), max_block(pages)))
    valid_queries = min(R, block_q)
    # The last of several blocks is filled up with copies of its last query.
    missing = -R % valid_queries
    q_BTNH = padded(q_BTNH, (B, T, N, padded_H))
    q_BKRH = q_BTNH.reshape(B, T, K, N // K, padded_H).swapaxes(1, 2).reshape(B, K, R, padded_H)
    q_BKRH = jnp.pad(q_BKRH, ((0, 0), (0, 0), (0, missing), (0, 0)), mode="edge")
    positions_BR = jnp.repeat(positions_BT, N // K, axis=1)
    positions_BR = jnp.pad(positions_BR, ((0, 0), (0, missing)), mode="edge")
    parts = attend_splits(
        q_BKRH,
        pages,
        page_tables_BM,
        positions_BR,
        block_q,
        valid_queries,
        H**-0.5,
        window,
        interpret,
        may_split=T == 1,
    )
    out_BKRH = combine_splits(*parts)[:, :, :R, :H].astype(q_BTNH.dtype)
    out_BKTGH = out_BKRH.reshape(B, K, T, N // K, H)
    return out_BKTGH.swapaxes(1, 2).reshape(B, T, N, H)


def attend_splits(
    q_BKRH: Float[Array, "B K R H"],
    pages: KV,
    page_tables_BM: Int32[Array, "B M"],
    positions_BR: Int32[Array, "B R"],
    block_q: int,
    valid_queries: int,
    scale: float,
    window: int | None,
    interpret: bool,
    may_split: bool,
) -> SplitSums:
    """Return, for each of Z splits of the context: the highest score of each query, the sum of the
    weights relative to it, and the weighted sum of the values. block_q: queries of a block.
    valid_queries: those of a block that are not padding. may_split: false for prefill, which has
    enough queries, and whose results must not depend on the number of rows.
    """
    (B, K, R, H), M, S = q_BKRH.shape, page_tables_BM.shape[1], pages.k.shape[2]
    block_k = math.gcd(S, max_block(pages))
    blocks_per_split, Z = split_size(B * K, M * S // block_k, block_k, may_split)
    # A program (c, r, z) serves row c // K, KV head c % K, query block r and split z.
    scalar_spec = pl.BlockSpec((None, None, None, block_q), lambda c, r, z: (c // K, c % K, z, r))
    vector_spec = pl.BlockSpec(
        (None, None, None, block_q, H), lambda c, r, z: (c // K, c % K, z, r, 0)
    )
    all_pages = pl.BlockSpec(pages.k.shape, lambda c, r, z: (0, 0, 0, 0))
    sizes = {"heads": K, "block_k": block_k, "blocks_per_split": blocks_per_split}
    options = {"valid_queries": valid_queries, "scale": scale, "window": window}
    return pl.pallas_call(
        partial(kernel, **sizes, **options),
        grid=(B * K, R // valid_queries, Z),
        in_specs=[
            pl.BlockSpec((None, None, block_q, H), lambda c, r, z: (c // K, c % K, r, 0)),
            pl.BlockSpec((None, block_q), lambda c, r, z: (c // K, r)),
            pl.BlockSpec((None, M), lambda c, r, z: (c // K, 0)),
            all_pages,
            all_pages,
        ],
        out_specs=[scalar_spec, scalar_spec, vector_spec],
        out_shape=[
            jax.ShapeDtypeStruct((B, K, Z, R), jnp.float32),
            jax.ShapeDtypeStruct((B, K, Z, R), jnp.float32),
            jax.ShapeDtypeStruct((B, K, Z, R, H), jnp.float32),
        ],
        compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=STAGES),
        interpret=interpret,
        name="paged_attention",
    )(q_BKRH, positions_BR, page_tables_BM, pages.k, pages.v)


def kernel(  # the arguments up to the star are references to memory
    q_RH,
    positions_R,
    page_table_M,
    k_PKSH,
    v_PKSH,
    highest_R,
    total_R,
    out_RH,
    *,
    heads: int,
    block_k: int,
    blocks_per_split: int,
    valid_queries: int,
    scale: float,
    window: int | None,
) -> None:
    """Process one block of queries over one split of the context, `block_k` keys at a time."""
    head, z = jax.lax.rem(pl.program_id(0), heads), pl.program_id(2)
    R, H = q_RH.shape
    # Load the queries. A padding query gets the newest position: it extends no loop and is not
    # stored. Masked loads are needed only where the block is larger than the queries.
    valid_R = jnp.arange(R) < valid_queries
    valid_RH = jnp.broadcast_to(valid_R[:, None], (R, H))
    if valid_queries == R:
        q, positions = q_RH[...], positions_R[...]
    else:
        q = plgpu.load(q_RH, mask=valid_RH, other=0)
        positions = plgpu.load(positions_R, mask=valid_R, other=0)
        positions = jnp.where(valid_R, positions, positions.max())
    i_Rx = positions[:, None]
    blocks_per_page = k_PKSH.shape[2] // block_k
    newest = positions.max()
    oldest = 0 if window is None else jnp.maximum(positions.min() - (window - 1), 0)

    def attend_block(n: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = carry
        # The page table translates block n of the context into a page and an offset.
        page = page_table_M[jax.lax.div(n, blocks_per_page)]
        offset = jax.lax.rem(n, blocks_per_page) * block_k
        k = k_PKSH[page, head, pl.ds(offset, block_k), :].astype(q.dtype)
        v = v_PKSH[page, head, pl.ds(offset, block_k), :].astype(q.dtype)
        j = n * block_k + jnp.arange(block_k)
        visible = j[None] <= i_Rx
        if window is not None:
            visible &= i_Rx - window < j[None]
        # Beyond the newest position are stale values, perhaps NaN, and 0 · NaN is NaN.
        v = jnp.where((j <= newest)[:, None], v, 0)
        scores = jnp.where(visible, dot(q, k, 1) * scale, MASK_VALUE)
        # Online softmax: rescale the running sums to the new maximum, then add this block.
        new = jnp.maximum(highest, scores.max(axis=1))
        weights = jnp.where(visible, jnp.exp(scores - new[:, None]), 0)
        rescale = jnp.exp(highest - new)
        values = dot(weights.astype(v.dtype), v, 0)
        return new, total * rescale + weights.sum(axis=1), out * rescale[:, None] + values

    start = tuple(
        jnp.full(shape, value, jnp.float32)
        for shape, value in ((R, MASK_VALUE), (R, 0), ((R, H), 0))
    )
    # Only the blocks of this split that some query of the block can attend to.
    first = jnp.maximum(z * blocks_per_split, jax.lax.div(oldest, block_k))
    stop = jnp.minimum((z + 1) * blocks_per_split, jax.lax.div(newest, block_k) + 1)
    highest, total, out = jax.lax.fori_loop(first, stop, attend_block, start)
    if valid_queries == R:
        highest_R[...], total_R[...], out_RH[...] = highest, total, out
    else:
        plgpu.store(highest_R, highest, mask=valid_R)
        plgpu.store(total_R, total, mask=valid_R)
        plgpu.store(out_RH, out, mask=valid_RH)


def dot(a: Array, b: Array, axis: int) -> Array:
    """Contract the last axis of a with `axis` of b, float32 in full precision rather than TF32."""
    return jax.lax.dot_general(
        a,
        b,
        (((1,), (axis,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )


def max_block(pages: KV) -> int:
    """Largest block of queries or keys: a power of two."""
    vector_bytes = pages.k.shape[3] * pages.k.dtype.itemsize
    return max(MIN_BLOCK, min(MAX_BLOCK, MAX_BLOCK_BYTES // vector_bytes))


def next_power_of_two(n: int) -> int:
    """Return the smallest power of two that is not below n."""
    return 1 << (n - 1).bit_length()


TRITON = Attention(empty, write, attend)
