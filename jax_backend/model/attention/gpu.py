"""Attention over a paged cache on a GPU: a kernel of Pallas, compiled by Triton.

Pages are those of a CPU, with head_dim padded to a power of two, as Triton wants every size to be.

    queries (B, T, N, H)  →  (B, K, R, H): the R = T · N/K of a row that share a head of keys
    grid (B·K, blocks of R, splits of the context): each program reads its pages, block by block
    a sum over the splits  →  (B, T, N, H)

The context is split where there are too few queries to keep a GPU busy (Dao et al.,
"Flash-Decoding for long-context inference", 2023). Blocks and splits follow from shapes alone, so a
row's bits do not depend on what else is in the batch. On how wide that is they may: such widths are
not used together (`Device._bits`).
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float, Int32

from jax_backend.model.attention import cpu
from jax_backend.model.attention.cpu import KV, MASKED, Attention, padded
from reference.model.config import LlamaConfig

SMALLEST = 16  # that a tensor core takes of each of the three sizes of a product
LARGEST = 64  # block, of queries or of keys
TILE = 16 * 2**10  # bytes of a block, at most: a GPU's shared memory has to hold about five
PROGRAMS = 1024  # that keep a GPU busy: a few for each of its processors
SHORTEST_SPLIT = 128  # positions
WARPS, STAGES = 4, 2


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> KV:
    """Pages of zeros."""
    if size % SMALLEST:
        raise ValueError(f"page_size: {size} is not a multiple of {SMALLEST}, as a GPU's must be")
    H = max(SMALLEST, power_of_two(config.head_dim))
    shape = (count, config.num_key_value_heads, size, H)
    return KV(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def write(
    pages: KV,
    k_BTKH: Float[Array, "B T K H"],
    v_BTKH: Float[Array, "B T K H"],
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    written_BT: Array,
) -> KV:
    """Put keys and values where they belong."""
    shape = (*k_BTKH.shape[:3], pages.k.shape[3])
    k_BTKH, v_BTKH = padded(k_BTKH, shape), padded(v_BTKH, shape)
    return cpu.write(pages, k_BTKH, v_BTKH, tables_BM, positions_BT, written_BT)


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: KV,
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """interpret: run the kernel without a GPU, slowly."""
    (B, T, N, H), (K, wide) = q_BTNH.shape, (pages.k.shape[1], pages.k.shape[3])
    R = T * N // K
    rows = max(SMALLEST, min(power_of_two(R), largest_block(pages)))
    kept = min(R, rows)
    # Queries that fill the last of several blocks up do what the last one does.
    missing = -R % kept
    q_BTNH = padded(q_BTNH, (B, T, N, wide))
    q_BKRH = q_BTNH.reshape(B, T, K, N // K, wide).swapaxes(1, 2).reshape(B, K, R, wide)
    q_BKRH = jnp.pad(q_BKRH, ((0, 0), (0, 0), (0, missing), (0, 0)), mode="edge")
    positions_BR = jnp.repeat(positions_BT, N // K, axis=1)
    positions_BR = jnp.pad(positions_BR, ((0, 0), (0, missing)), mode="edge")
    parts = partial_sums(
        q_BKRH, pages, tables_BM, positions_BR, rows, kept, H**-0.5, window, interpret
    )
    out_BKTGH = total(*parts)[:, :, :R, :H].astype(q_BTNH.dtype).reshape(B, K, T, N // K, H)
    return out_BKTGH.swapaxes(1, 2).reshape(B, T, N, H)


Parts = tuple[Float[Array, "B K Z R"], Float[Array, "B K Z R"], Float[Array, "B K Z R H"]]


def partial_sums(
    q_BKRH: Float[Array, "B K R H"],
    pages: KV,
    tables_BM: Int32[Array, "B M"],
    positions_BR: Int32[Array, "B R"],
    rows: int,
    kept: int,
    scale: float,
    window: int | None,
    interpret: bool,
) -> Parts:
    """For each of Z splits of the context: the highest score of each query, the sum of the weights
    relative to it, and the weighted sum of the values. rows: of a block. kept: how many of those
    there are, if one block is too much.
    """
    (B, K, R, H), M, S = q_BKRH.shape, tables_BM.shape[1], pages.k.shape[2]
    block = math.gcd(S, largest_block(pages))
    blocks = M * S // block
    splits = 1 if R > rows else max(1, PROGRAMS // (B * K))
    split = max(SHORTEST_SPLIT // block, pl.cdiv(blocks, splits))
    Z = pl.cdiv(blocks, split)
    number = pl.BlockSpec((None, None, None, rows), lambda c, r, z: (c // K, c % K, z, r))
    vector = pl.BlockSpec((None, None, None, rows, H), lambda c, r, z: (c // K, c % K, z, r, 0))
    whole = pl.BlockSpec(pages.k.shape, lambda c, r, z: (0, 0, 0, 0))
    return pl.pallas_call(
        partial(kernel, heads=K, block=block, split=split, kept=kept, scale=scale, window=window),
        grid=(B * K, R // kept, Z),
        in_specs=[
            pl.BlockSpec((None, None, rows, H), lambda c, r, z: (c // K, c % K, r, 0)),
            pl.BlockSpec((None, rows), lambda c, r, z: (c // K, r)),
            pl.BlockSpec((None, M), lambda c, r, z: (c // K, 0)),
            whole,
            whole,
        ],
        out_specs=[number, number, vector],
        out_shape=[
            jax.ShapeDtypeStruct((B, K, Z, R), jnp.float32),
            jax.ShapeDtypeStruct((B, K, Z, R), jnp.float32),
            jax.ShapeDtypeStruct((B, K, Z, R, H), jnp.float32),
        ],
        compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=STAGES),
        interpret=interpret,
        name="paged_attention",
    )(q_BKRH, positions_BR, tables_BM, pages.k, pages.v)


def kernel(  # what it reads and writes are references to memory
    q_RH,
    positions_R,
    table_M,
    k_PKSH,
    v_PKSH,
    highest_R,
    total_R,
    out_RH,
    *,
    heads: int,
    block: int,
    split: int,
    kept: int,
    scale: float,
    window: int | None,
) -> None:
    """One block of queries over one split of the context. block: keys that are read at once.
    split: of how many blocks. kept: of the queries, those that there are.
    """
    head, z = jax.lax.rem(pl.program_id(0), heads), pl.program_id(2)
    R, H = q_RH.shape
    here_R = jnp.arange(R) < kept
    here_RH = jnp.broadcast_to(here_R[:, None], (R, H))
    if kept == R:
        q, positions = q_RH[...], positions_R[...]
    else:
        q = plgpu.load(q_RH, mask=here_RH, other=0)
        positions = plgpu.load(positions_R, mask=here_R, other=0)
        positions = jnp.where(here_R, positions, positions.max())
    i_Rx = positions[:, None]
    per_page = k_PKSH.shape[2] // block
    newest = positions.max()
    oldest = 0 if window is None else jnp.maximum(positions.min() - (window - 1), 0)

    def one(n: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = carry
        page, at = table_M[jax.lax.div(n, per_page)], jax.lax.rem(n, per_page) * block
        k = k_PKSH[page, head, pl.ds(at, block), :]
        v = v_PKSH[page, head, pl.ds(at, block), :]
        j = n * block + jnp.arange(block)
        seen = j[None] <= i_Rx
        if window is not None:
            seen &= i_Rx - window < j[None]
        v = jnp.where((j <= newest)[:, None], v, 0)  # beyond is another's, and 0 · NaN is NaN
        scores = jnp.where(seen, product(q, k, 1) * scale, MASKED)
        new = jnp.maximum(highest, scores.max(axis=1))
        weights = jnp.where(seen, jnp.exp(scores - new[:, None]), 0)
        shrink = jnp.exp(highest - new)
        values = product(weights.astype(v.dtype), v, 0)
        return new, total * shrink + weights.sum(axis=1), out * shrink[:, None] + values

    start = tuple(
        jnp.full(shape, value, jnp.float32) for shape, value in ((R, MASKED), (R, 0), ((R, H), 0))
    )
    first = jnp.maximum(z * split, jax.lax.div(oldest, block))
    stop = jnp.minimum((z + 1) * split, jax.lax.div(newest, block) + 1)
    highest, total, out = jax.lax.fori_loop(first, stop, one, start)
    if kept == R:
        highest_R[...], total_R[...], out_RH[...] = highest, total, out
    else:
        plgpu.store(highest_R, highest, mask=here_R)
        plgpu.store(total_R, total, mask=here_R)
        plgpu.store(out_RH, out, mask=here_RH)


def product(a: Array, b: Array, axis: int) -> Array:
    """a · b over the last axis of a and `axis` of b: float32 as exact as it gets, not TF32."""
    return jax.lax.dot_general(
        a,
        b,
        (((1,), (axis,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )


def total(
    highest_BKZR: Float[Array, "B K Z R"],
    total_BKZR: Float[Array, "B K Z R"],
    out_BKZRH: Float[Array, "B K Z R H"],
) -> Float[Array, "B K R H"]:
    """Weighted mean of the values over all splits; one in which nothing is seen counts nothing."""
    share_BKZR = jnp.exp(highest_BKZR - highest_BKZR.max(axis=2, keepdims=True))
    total_BKR = (total_BKZR * share_BKZR).sum(axis=2)
    return (out_BKZRH * share_BKZR[..., None]).sum(axis=2) / total_BKR[..., None]


def largest_block(pages: KV) -> int:
    """Of queries or of keys: a power of two."""
    vector = pages.k.shape[3] * pages.k.dtype.itemsize
    return max(SMALLEST, min(LARGEST, TILE // vector))


def power_of_two(n: int) -> int:
    """The smallest that is not below n."""
    return 1 << (n - 1).bit_length()


GPU = Attention(empty, write, attend)
