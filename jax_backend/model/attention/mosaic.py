"""Attention over a paged KV cache on a Hopper GPU: a Pallas kernel, compiled by Mosaic GPU.

Pages have the CPU's layout, with head_dim padded to a multiple of 64. One kernel serves decoding
and prefill: the valid queries of a row are at consecutive positions.

    queries (B, T, N, H)  →  (B, K, R, H): the R = T · N/K queries of a row that share a KV head
    grid (B·K, blocks of R, splits of the context): a warpgroup loops over its blocks of keys, which
    it copies asynchronously from the pages, some blocks ahead
    a reduction over the splits  →  (B, T, N, H)

Blocks and splits depend on shapes only, as those of `jax_backend.model.attention.triton`. The
kernel has been interpreted and assembled, but not run: `for_platform` selects it on request only.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Bool, Float, Int32

from jax_backend.model.attention import cpu
from jax_backend.model.attention.base import KV, MASK_VALUE, Attention, padded
from jax_backend.model.attention.splits import SplitSums, combine_splits, split_size
from reference.model.config import LlamaConfig

BLOCK = 64  # queries or keys: the rows of a tensor-core product of a warpgroup
ROW_TILE = 8  # rows of a tile of shared memory
STAGES = 3  # blocks of keys in flight
SWIZZLE = 128  # bytes of a row of a tile


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> KV:
    """Allocate pages of zeros."""
    if size % BLOCK:
        raise ValueError(f"page_size: must be a multiple of {BLOCK} for mosaic, got {size}")
    if dtype != jnp.bfloat16:
        raise ValueError(f"dtype: must be bfloat16 for attention 'mosaic', got {dtype}")
    H = -(-config.head_dim // BLOCK) * BLOCK
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
    interpret: Any = None,
) -> Float[Array, "B T N H"]:
    """Attend with the kernel. interpret: parameters to run it without a GPU, slowly."""
    (B, T, N, H), (_, K, S, padded_H) = q_BTNH.shape, pages.k.shape
    G, M = N // K, page_tables_BM.shape[1]
    R = T * G
    q_BTNH = padded(q_BTNH.astype(pages.k.dtype), (B, T, N, padded_H))
    q_BKRH = q_BTNH.reshape(B, T, K, G, padded_H).swapaxes(1, 2).reshape(B, K, R, padded_H)
    q_BKRH = padded(q_BKRH, (B, K, -(-R // BLOCK) * BLOCK, padded_H))
    blocks_per_split, Z = split_size(B * K, M * S // BLOCK, BLOCK, may_split=T == 1)
    # Rows of the result: of a block with few queries, only the tiles that have some.
    rows = min(BLOCK, -(-R // ROW_TILE) * ROW_TILE)
    query_blocks = q_BKRH.shape[2] // BLOCK
    scalars = jax.ShapeDtypeStruct((B, K, Z, query_blocks * rows), jnp.float32)
    vectors = jax.ShapeDtypeStruct((*scalars.shape, padded_H), jnp.float32)
    sizes = {"heads": K, "group": G, "blocks_per_split": blocks_per_split, "rows": rows}
    parts: SplitSums = plgpu.kernel(
        partial(kernel, **sizes, scale=H**-0.5, window=window, layouts=interpret is None),
        out_type=(scalars, scalars, vectors),
        grid=(B * K, query_blocks, Z),
        grid_names=("row_head", "query_block", "split"),
        scratch_types=scratch_types(padded_H),
        interpret=interpret,
    )(
        q_BKRH,
        positions_BT[:, 0],
        positions_BT.max(axis=1),
        page_tables_BM,
        pages.k,
        pages.v,
    )
    out_BKRH = combine_splits(*parts)[:, :, :R, :H].astype(q_BTNH.dtype)
    return out_BKRH.reshape(B, K, T, G, H).swapaxes(1, 2).reshape(B, T, N, H)


def scratch_types(H: int) -> dict[str, Any]:
    """Return the shared memory of a program, in tiles as the tensor cores read them."""

    def tiled(shape: tuple[int, ...], dtype: Any) -> Any:
        columns = SWIZZLE // jnp.dtype(dtype).itemsize
        transforms = (plgpu.TilingTransform((ROW_TILE, columns)), plgpu.SwizzleTransform(SWIZZLE))
        return plgpu.SMEM(shape, dtype, transforms=transforms)

    return {
        "q_RH": tiled((BLOCK, H), jnp.bfloat16),
        "k_JH": tiled((STAGES, BLOCK, H), jnp.bfloat16),
        "v_JH": tiled((STAGES, BLOCK, H), jnp.bfloat16),
        "weights_RJ": tiled((BLOCK, BLOCK), jnp.bfloat16),
        "sums_R": plgpu.SMEM((2, BLOCK), jnp.float32),
        "result_RH": tiled((BLOCK, H), jnp.float32),
        "q_ready": plgpu.Barrier(),
        "k_ready": plgpu.Barrier(num_barriers=STAGES),
        "v_ready": plgpu.Barrier(num_barriers=STAGES),
    }


def kernel(  # the arguments up to the star are references to memory
    q_BKRH,
    first_B,
    newest_B,
    page_tables_BM,
    k_PKSH,
    v_PKSH,
    highest_BKZR,
    total_BKZR,
    out_BKZRH,
    *,
    q_RH,
    k_JH,
    v_JH,
    weights_RJ,
    sums_R,
    result_RH,
    q_ready,
    k_ready,
    v_ready,
    heads: int,
    group: int,
    blocks_per_split: int,
    rows: int,
    scale: float,
    window: int | None,
    layouts: bool,
) -> None:
    """Process one block of queries over one split of the context, BLOCK keys at a time.

    Query i of the row is at position `first` + i // group. Queries of padding are at positions
    after the newest; their results are ignored. layouts: whether arrays have a layout in registers;
    they have none when the kernel is interpreted.
    """
    c, r, z = (jax.lax.axis_index(name) for name in ("row_head", "query_block", "split"))
    row, head = jax.lax.div(c, heads), jax.lax.rem(c, heads)
    H, blocks_per_page = q_RH.shape[1], k_PKSH.shape[2] // BLOCK
    first, i0 = first_B[row], r * BLOCK
    newest = jnp.minimum(newest_B[row], first + jax.lax.div(i0 + BLOCK - 1, group))
    start = z * blocks_per_split
    stop = jnp.minimum(start + blocks_per_split, jax.lax.div(newest, BLOCK) + 1)
    if window is not None:
        oldest = jnp.maximum(first + jax.lax.div(i0, group) - (window - 1), 0)
        start = jnp.maximum(start, jax.lax.div(oldest, BLOCK))

    def copy_block(n: Array) -> None:
        """Start to copy block n of the context, of which the page table has the place."""
        slot = jax.lax.rem(n, STAGES)
        page = page_tables_BM[row, jax.lax.div(n, blocks_per_page)]
        keys = pl.ds(jax.lax.rem(n, blocks_per_page) * BLOCK, BLOCK)
        plgpu.copy_gmem_to_smem(k_PKSH.at[page, head, keys], k_JH.at[slot], k_ready.at[slot])
        plgpu.copy_gmem_to_smem(v_PKSH.at[page, head, keys], v_JH.at[slot], v_ready.at[slot])

    plgpu.copy_gmem_to_smem(q_BKRH.at[row, head, pl.ds(i0, BLOCK)], q_RH, q_ready)
    for ahead in range(STAGES):
        pl.when(start + ahead < stop)(partial(copy_block, start + ahead))
    plgpu.barrier_wait(q_ready)

    def attend_block(n: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = carry
        slot, j0 = jax.lax.rem(n, STAGES), n * BLOCK
        plgpu.barrier_wait(k_ready.at[slot])
        scores = multiply(q_RH, k_JH.at[slot], layouts, transposed=True) * scale
        i_RJ, j_RJ = (iota((BLOCK, BLOCK), axis, layouts) for axis in (0, 1))
        # j ≤ first + i // group, and j > first + i // group − window, without a division
        visible = (j_RJ + (j0 - first)) * group <= i_RJ + i0
        if window is not None:
            visible &= i_RJ + i0 < (j_RJ + (j0 - first + window)) * group
        scores = jnp.where(visible, scores, MASK_VALUE)
        # Online softmax: rescale the running sums to the new maximum, then add this block.
        new = jnp.maximum(highest, scores.max(axis=1))
        weights = jnp.where(visible, jnp.exp(scores - over_columns(new, BLOCK)), 0.0)
        rescale = jnp.exp(highest - new)
        weights_RJ[...] = weights.astype(weights_RJ.dtype)
        plgpu.barrier_wait(v_ready.at[slot])
        # Beyond the newest position are stale values, perhaps NaN, and 0 · NaN is NaN.
        clear = partial(clear_after, v_JH.at[slot], newest - j0, layouts)
        pl.when(j0 + BLOCK - 1 > newest)(clear)
        plgpu.commit_smem()
        values = multiply(weights_RJ, v_JH.at[slot], layouts)
        pl.when(n + STAGES < stop)(partial(copy_block, n + STAGES))
        return new, total * rescale + weights.sum(axis=1), out * over_columns(rescale, H) + values

    zeros = tuple(
        jnp.full(shape, value, jnp.float32)
        for shape, value in (((BLOCK,), MASK_VALUE), ((BLOCK,), 0.0), ((BLOCK, H), 0.0))
    )
    if layouts:
        rows_of = plgpu.Layout.WGMMA.reduce(1)
        placed = zip(zeros, (rows_of, rows_of, plgpu.Layout.WGMMA), strict=True)
        zeros = tuple(plgpu.layout_cast(x, layout) for x, layout in placed)
    highest, total, out = jax.lax.fori_loop(start, jnp.maximum(start, stop), attend_block, zeros)
    sums_R.at[0][...], sums_R.at[1][...], result_RH[...] = highest, total, out
    plgpu.commit_smem()
    place = row, head, z, pl.ds(r * rows, rows)
    plgpu.copy_smem_to_gmem(sums_R.at[0, pl.ds(0, rows)], highest_BKZR.at[place])
    plgpu.copy_smem_to_gmem(sums_R.at[1, pl.ds(0, rows)], total_BKZR.at[place])
    plgpu.copy_smem_to_gmem(result_RH.at[pl.ds(0, rows)], out_BKZRH.at[place])
    plgpu.wait_smem_to_gmem(0)


def multiply(a: Any, b: Any, layouts: bool, transposed: bool = False) -> Array:
    """Multiply two matrices in shared memory, in float32. transposed: the second one."""
    if not layouts:
        right = b[...].T if transposed else b[...]
        return jnp.dot(a[...], right, preferred_element_type=jnp.float32)
    right = plgpu.transpose_ref(b, (1, 0)) if transposed else b

    def accumulate(sums: Any) -> Array:
        plgpu.wgmma(sums, a, right)
        return sums[...]

    shape = a.shape[0], b.shape[0] if transposed else b.shape[1]
    result: Array = pl.run_scoped(accumulate, plgpu.ACC(shape, jnp.float32))
    return result


def over_columns(x: Array, columns: int) -> Array:
    """Repeat a number of each row."""
    return jax.lax.broadcast_in_dim(x, (BLOCK, columns), (0,))


def iota(shape: tuple[int, int], axis: int, layouts: bool) -> Array:
    """Return the indices along an axis."""
    if not layouts:
        return jax.lax.broadcasted_iota(jnp.int32, shape, axis)
    return plgpu.broadcasted_iota(jnp.int32, shape, axis, layout=plgpu.Layout.WGMMA)


def clear_after(v_JH: Any, last: Array, layouts: bool) -> None:
    """Set the rows after `last` to zero."""
    is_valid = iota(v_JH.shape, 0, layouts) <= last
    v_JH[...] = jnp.where(is_valid, v_JH[...], jnp.zeros(v_JH.shape, v_JH.dtype))


MOSAIC = Attention(empty, write, attend)
