"""The k largest of many numbers, from a single pass over all of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

GROUP_SIZE = 64


def top_k_values(
    x_BV: Float32[Array, "B V"], count: int, group_size: int = GROUP_SIZE
) -> tuple[Float32[Array, "B count"], Int32[Array, "B count"]]:
    """Return the `count` largest numbers of each row and their indices, as `jax.lax.top_k` does:
    equal numbers in the order of their indices.

    Each row is cut into groups of neighbors. All results are in the `count` groups with the largest
    maxima (on a tie, the first groups): a number in another group has the maxima of those `count`
    groups before it.
    """
    B, V = x_BV.shape
    groups = -(-V // group_size)
    if groups <= count:
        values, indices = jax.lax.top_k(x_BV, count)
        return values, indices
    padding = groups * group_size - V
    x_BGS = jnp.pad(x_BV, ((0, 0), (0, padding)), constant_values=-jnp.inf)
    x_BGS = x_BGS.reshape(B, groups, group_size)
    chosen = jnp.sort(jax.lax.top_k(x_BGS.max(axis=2), count)[1], axis=1)
    candidates = jnp.take_along_axis(x_BGS, chosen[:, :, None], axis=1).reshape(B, -1)
    values, i = jax.lax.top_k(candidates, count)
    indices = jnp.take_along_axis(chosen, i // group_size, axis=1) * group_size + i % group_size
    return values, indices
