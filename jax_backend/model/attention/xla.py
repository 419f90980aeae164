"""Attention over a paged KV cache on any GPU, without a kernel: plain JAX, in large blocks of keys.

Pages have the CPU's layout. Each iteration of a loop gathers a block of keys and values of every
row and multiplies them: few iterations with large products, since a GPU waits for the host between
the iterations of a loop whose length depends on data.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from jax_backend.model.attention import cpu
from jax_backend.model.attention.base import KV, MASK_VALUE, Attention
from jax_backend.numerics.reductions import sum_rows

BLOCK_KEYS = 512  # of a row, whatever the number of rows: the results do not depend on it


def attend(
    q_BTNH: Float[Array, "B T N H"],
    pages: KV,
    page_tables_BM: Int32[Array, "B M"],
    positions_BT: Int32[Array, "B T"],
    window: int | None = None,
) -> Float[Array, "B T N H"]:
    """Attend block by block with an online softmax, as on a CPU (`cpu.attend_group`). A block in
    which all positions of a row are masked leaves that row's state bitwise unchanged.
    """
    (B, T, N, H), (_, K, S, _) = q_BTNH.shape, pages.k.shape
    n = min(page_tables_BM.shape[1], max(1, BLOCK_KEYS // S))  # pages of a block
    page_tables_BM = jnp.pad(page_tables_BM, ((0, 0), (0, -page_tables_BM.shape[1] % n)))
    # The queries that share a KV head are the rows R of one matrix: R = T · N/K.
    q_BKRH = q_BTNH.reshape(B, T, K, N // K, H).swapaxes(1, 2).reshape(B, K, -1, H)
    i_BRx = jnp.repeat(positions_BT, N // K, axis=1)[:, :, None]
    newest_Bx = positions_BT.max(axis=1, keepdims=True)

    def attend_block(m: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        highest, total, out = carry
        ids_Bn = jax.lax.dynamic_slice_in_dim(page_tables_BM, m * n, n, axis=1)
        k_BKJH, v_BKJH = (
            x[ids_Bn].swapaxes(1, 2).reshape(B, K, n * S, H) for x in (pages.k, pages.v)
        )
        j_xJ = (m * n * S + jnp.arange(n * S))[None]
        j = j_xJ[None]
        visible_BRJ = j <= i_BRx if window is None else (j <= i_BRx) & (i_BRx - window < j)
        visible = visible_BRJ[:, None]
        # Beyond the newest position are stale values, perhaps NaN, and 0 · NaN is NaN.
        v_BKJH = jnp.where((j_xJ <= newest_Bx)[:, None, :, None], v_BKJH, 0)
        scores = jnp.where(
            visible, product("bkrh,bkjh->bkrj", q_BKRH, k_BKJH) * H**-0.5, MASK_VALUE
        )
        # Rescale the running sums to the new maximum, then add this block.
        new = jnp.maximum(highest, scores.max(axis=-1, keepdims=True))
        weights = jnp.where(visible, jnp.exp(scores - new), 0)
        rescale = jnp.exp(highest - new)
        values = product("bkrj,bkjh->bkrh", weights.astype(v_BKJH.dtype), v_BKJH)
        total = total * rescale + sum_rows(weights)[..., None]
        return new, total, out * rescale + values

    start = (
        jnp.full((*q_BKRH.shape[:3], 1), MASK_VALUE, jnp.float32),
        jnp.zeros((*q_BKRH.shape[:3], 1), jnp.float32),
        jnp.zeros(q_BKRH.shape, jnp.float32),
    )
    oldest = 0 if window is None else jnp.maximum(positions_BT.min() - (window - 1), 0)
    first, stop = oldest // (n * S), positions_BT.max() // (n * S) + 1
    _, total, out = jax.lax.fori_loop(first, stop, attend_block, start)
    out_BKTGH = (out / total).astype(q_BTNH.dtype).reshape(B, K, T, N // K, H)
    return out_BKTGH.swapaxes(1, 2).reshape(B, T, N, H)


def product(equation: str, a: Array, b: Array) -> Array:
    """Multiply, float32 in full precision rather than TF32."""
    return jnp.einsum(equation, a, b, precision="highest", preferred_element_type=jnp.float32)


XLA = Attention(cpu.empty, cpu.write, attend)
