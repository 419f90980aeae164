"""Attention over a paged cache, for each kind of device behind one interface; here for CPUs.

The keys and values of a layer lie in pages of S positions each. Row b's position j stands in page
`tables_BM[b, j // S]`, at j mod S. Page 0 belongs to nobody: rows that only pad a batch write
there. How a page is laid out is the device's affair: (P, K, S, H) for keys and for values, here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, PyTree

from jax_backend.numerics.reductions import row_sum
from reference.model.config import LlamaConfig

Pages = PyTree[Array]  # the pages of one layer: arrays, whose first axis is the page

TOGETHER = 16  # rows that a CPU takes through their pages together, at most
MASKED = -1e30  # finite, so that a block in which nothing is seen changes nothing


@dataclass(frozen=True)
class Attention:
    """What a kind of device does. It is static: two programs differ if their attention does.

    empty(config, count, size, dtype): `count` pages, page 0 among them, of `size` positions.
    write(pages, k_BTKH, v_BTKH, tables_BM, positions_BT, written_BT): the pages with keys and
    values where they belong; those that are not `written` go to page 0.
    attend(q_BTNH, pages, tables_BM, positions_BT, window): softmax(q·k / √H) v, (B, T, N, H), of
    the queries at `positions_BT` over the positions of their row up to their own; the last `window`
    of those, unless it is None. A row's positions count up by one, or pad: then they repeat the
    first, come last, and what is made of them is nobody's. Nothing of a row depends on another, nor
    on what lies in pages beyond its newest position, NaN included.

    heads: which axis of its pages is that of the heads of keys.

    `empty` raises ValueError, naming the field, if the device cannot serve such a model.
    """

    empty: Callable[[LlamaConfig, int, int, jnp.dtype], Pages]
    write: Callable[[Pages, Array, Array, Array, Array, Array], Pages]
    attend: Callable[[Array, Pages, Array, Array, int | None], Array]
    heads: int = 1


def for_platform(platform: str) -> Attention:
    """The attention of a platform, as `jax.default_backend` calls it. Raises ValueError if there is
    none.
    """
    # A kernel's file is imported where it is used: not every jaxlib can import every backend.
    match platform:
        case "cpu":
            return CPU
        case "gpu" | "cuda" | "rocm":
            from jax_backend.model.attention.gpu import GPU

            return GPU
        case "tpu":
            from jax_backend.model.attention.tpu import TPU

            return TPU
    raise ValueError(f"platform: no attention for {platform!r}, only for cpu, gpu and tpu")


class KV(NamedTuple):
    """Pages of keys and pages of values."""

    k: Float[Array, "P K S H"]
    v: Float[Array, "P K S H"]


def empty(config: LlamaConfig, count: int, size: int, dtype: jnp.dtype) -> KV:
    """Pages of zeros."""
    shape = (count, config.num_key_value_heads, size, config.head_dim)
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
    size = pages.k.shape[2]
    page_BT = jnp.take_along_axis(tables_BM, positions_BT // size, axis=1)
    page_BT, at_BT = jnp.where(written_BT, page_BT, 0), positions_BT % size
    return KV(
        pages.k.at[page_BT, :, at_BT].set(k_BTKH.astype(pages.k.dtype)),
        pages.v.at[page_BT, :, at_BT].set(v_BTKH.astype(pages.v.dtype)),
    )


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: KV,
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
) -> Float[Array, "B T N H"]:
    """In groups of rows: what one of them waits for is the longest of its group, not of all."""
    B = len(q_BTNH)
    groups = -(-B // TOGETHER)
    if groups == 1:
        return attend_together(q_BTNH, pages, tables_BM, positions_BT, window)
    size = -(-B // groups)

    def grouped(x: Array) -> Array:
        rows = jnp.pad(x, [(0, groups * size - B)] + [(0, 0)] * (x.ndim - 1), mode="edge")
        return rows.reshape(groups, size, *x.shape[1:])

    out = jax.lax.map(
        lambda rows: attend_together(rows[0], pages, rows[1], rows[2], window),
        (grouped(q_BTNH), grouped(tables_BM), grouped(positions_BT)),
    )
    return out.reshape(groups * size, *q_BTNH.shape[1:])[:B]


def attend_together(
    q_BTNH: Float[Array, "B T N H"],
    pages: KV,
    tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None,
) -> Float[Array, "B T N H"]:
    """Page by page, with a running maximum and sum (Milakov and Gimelshein, "Online normalizer
    calculation for softmax", 2018). A page in which a row sees nothing leaves that row's numbers
    exactly as they were, so how far the loop runs for others does not matter to it.
    """
    (B, T, N, H), (_, K, S, _) = q_BTNH.shape, pages.k.shape
    q_BKRH = (q_BTNH * H**-0.5).reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)
    q_BKRH = q_BKRH.reshape(B, K, -1, H)
    i_BRx = jnp.tile(positions_BT, (1, N // K))[:, :, None]  # the rows R are groups × T
    newest_Bx = positions_BT.max(axis=1, keepdims=True)
    oldest = jnp.zeros_like(positions_BT) if window is None else positions_BT - (window - 1)

    def page(m: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = carry
        ids_B = jax.lax.dynamic_index_in_dim(tables_BM, m, axis=1, keepdims=False)
        k_BKSH, v_BKSH = pages.k[ids_B], pages.v[ids_B]
        j_xS = (m * S + jnp.arange(S))[None]
        j = j_xS[None]
        seen_BRS = j <= i_BRx if window is None else (j <= i_BRx) & (i_BRx - window < j)
        seen = seen_BRS[:, None]
        # What lies beyond a row is another's, and 0 · NaN is NaN.
        v_BKSH = jnp.where((j_xS <= newest_Bx)[:, None, :, None], v_BKSH, 0)
        scores = jnp.einsum("bkrh,bksh->bkrs", q_BKRH, k_BKSH, preferred_element_type=jnp.float32)
        scores = jnp.where(seen, scores, MASKED)
        new = jnp.maximum(highest, scores.max(axis=-1, keepdims=True))
        weights = jnp.where(seen, jnp.exp(scores - new), 0)
        shrink = jnp.exp(highest - new)
        values = weighted_sum(weights.astype(v_BKSH.dtype), v_BKSH)
        return new, total * shrink + row_sum(weights)[..., None], out * shrink + values

    shape = q_BKRH.shape[:3]
    start = (
        jnp.full((*shape, 1), MASKED, jnp.float32),
        jnp.zeros((*shape, 1), jnp.float32),
        jnp.zeros((*shape, H), jnp.float32),
    )
    first = jnp.maximum(oldest.min(), 0) // S
    _, total, out = jax.lax.fori_loop(first, positions_BT.max() // S + 1, page, start)
    out_BKGTH = (out / total).astype(q_BTNH.dtype).reshape(B, K, N // K, T, H)
    return out_BKGTH.transpose(0, 3, 1, 2, 4).reshape(B, T, N, H)


def weighted_sum(
    weights_BKRS: Float[Array, "B K R S"], v_BKSH: Float[Array, "B K S H"]
) -> Float[Array, "B K R H"]:
    """One product for each head, or, for a single query, additions that are written out: so small a
    product takes longer than two plain loops.
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


def padded(x: Array, shape: tuple[int, ...]) -> Array:
    """Zeros behind x, along every axis: a kernel may take only some shapes."""
    return jnp.pad(x, [(0, new - old) for old, new in zip(x.shape, shape, strict=True)])


CPU = Attention(empty, write, attend)
