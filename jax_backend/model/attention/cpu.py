"""Attention over a paged KV cache on a CPU, in plain JAX.

Pages are (P, K, S, H) arrays, one for keys and one for values.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from jax_backend.model.attention.base import KV, MASK_VALUE, Attention
from jax_backend.numerics.reductions import sum_rows
from reference.model.config import LlamaConfig

GROUP_SIZE, PREFILL_GROUP_SIZE = 16, 4  # rows that one loop over the pages serves, at most


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> KV:
    """Allocate pages of zeros."""
    shape = (count, config.num_key_value_heads, size, config.head_dim)
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
    size = pages.k.shape[2]
    page_BT = jnp.take_along_axis(page_tables_BM, positions_BT // size, axis=1)
    page_BT, offset_BT = jnp.where(written_BT, page_BT, 0), positions_BT % size
    return KV(
        pages.k.at[page_BT, :, offset_BT].set(k_BTKH.astype(pages.k.dtype)),
        pages.v.at[page_BT, :, offset_BT].set(v_BTKH.astype(pages.v.dtype)),
    )


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: KV,
    page_tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
) -> Float[Array, "B T N H"]:
    """Attend in groups of rows, so that a row waits for the longest of its group, not of all."""
    B, T = q_BTNH.shape[:2]
    groups = -(-B // (GROUP_SIZE if T == 1 else PREFILL_GROUP_SIZE))
    if groups == 1:
        return attend_group(q_BTNH, pages, page_tables_BM, positions_BT, window)
    size = -(-B // groups)

    def grouped(x: Array) -> Array:
        rows = jnp.pad(x, [(0, groups * size - B)] + [(0, 0)] * (x.ndim - 1), mode="edge")
        return rows.reshape(groups, size, *x.shape[1:])

    out = jax.lax.map(
        lambda rows: attend_group(rows[0], pages, rows[1], rows[2], window),
        (grouped(q_BTNH), grouped(page_tables_BM), grouped(positions_BT)),
    )
    return out.reshape(groups * size, *q_BTNH.shape[1:])[:B]


def attend_group(
    q_BTNH: Float[Array, "B T N H"],
    pages: KV,
    page_tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None,
) -> Float[Array, "B T N H"]:
    """Attend page by page with an online softmax (Milakov and Gimelshein, "Online normalizer
    calculation for softmax", 2018). A page in which all positions of a row are masked leaves that
    row's state bitwise unchanged, so the number of iterations does not affect its result.
    """
    (B, T, N, H), (_, K, S, _) = q_BTNH.shape, pages.k.shape
    # The queries that share a KV head are the rows R of one matrix: R = T · N/K, heads first.
    q_BKRH = (q_BTNH * H**-0.5).reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)
    q_BKRH = q_BKRH.reshape(B, K, -1, H)
    i_BRx = jnp.tile(positions_BT, (1, N // K))[:, :, None]
    newest_Bx = positions_BT.max(axis=1, keepdims=True)
    oldest = jnp.zeros_like(positions_BT) if window is None else positions_BT - (window - 1)

    def attend_page(m: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = carry
        ids_B = jax.lax.dynamic_index_in_dim(page_tables_BM, m, axis=1, keepdims=False)
        k_BKSH, v_BKSH = (part[ids_B].astype(q_BTNH.dtype) for part in pages)
        j_xS = (m * S + jnp.arange(S))[None]
        j = j_xS[None]
        visible_BRS = j <= i_BRx if window is None else (j <= i_BRx) & (i_BRx - window < j)
        visible = visible_BRS[:, None]
        # Beyond the newest position are stale values, perhaps NaN, and 0 · NaN is NaN.
        v_BKSH = jnp.where((j_xS <= newest_Bx)[:, None, :, None], v_BKSH, 0)
        scores = jnp.einsum("bkrh,bksh->bkrs", q_BKRH, k_BKSH, preferred_element_type=jnp.float32)
        scores = jnp.where(visible, scores, MASK_VALUE)
        # Rescale the running sums to the new maximum, then add this page.
        new = jnp.maximum(highest, scores.max(axis=-1, keepdims=True))
        weights = jnp.where(visible, jnp.exp(scores - new), 0)
        rescale = jnp.exp(highest - new)
        values = weighted_sum(weights.astype(v_BKSH.dtype), v_BKSH)
        return new, total * rescale + sum_rows(weights)[..., None], out * rescale + values

    shape = q_BKRH.shape[:3]
    start = (
        jnp.full((*shape, 1), MASK_VALUE, jnp.float32),
        jnp.zeros((*shape, 1), jnp.float32),
        jnp.zeros((*shape, H), jnp.float32),
    )
    first = jnp.maximum(oldest.min(), 0) // S
    _, total, out = jax.lax.fori_loop(first, positions_BT.max() // S + 1, attend_page, start)
    out_BKGTH = (out / total).astype(q_BTNH.dtype).reshape(B, K, N // K, T, H)
    return out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


def weighted_sum(
    weights_BKRS: Float[Array, "B K R S"], v_BKSH: Float[Array, "B K S H"]
) -> Float[Array, "B K R H"]:
    """Compute one matrix product per KV head. A single query uses unrolled additions instead: so
    small a product is slower than two plain loops.
    """
    if weights_BKRS.shape[2] > 1:
        return jnp.einsum(
            "bkrs,bksh->bkrh", weights_BKRS, v_BKSH, preferred_element_type=jnp.float32
        )
    weights = jax.lax.optimization_barrier(weights_BKRS).astype(jnp.float32)
    terms_BKSH = weights.swapaxes(2, 3) * v_BKSH.astype(jnp.float32)
    total = terms_BKSH[:, :, 0]
    for s in range(1, v_BKSH.shape[2]):
        total = total + terms_BKSH[:, :, s]
    return total[:, :, None]


CPU = Attention(empty, write, attend)
