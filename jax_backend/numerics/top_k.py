"""The few largest of many numbers, without looking at all of them more than once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

GROUP = 64


def largest(
    x_BV: Float32[Array, "B V"], count: int, group: int = GROUP
) -> tuple[Float32[Array, "B count"], Int32[Array, "B count"]]:
    """What `jax.lax.top_k` finds: the `count` largest of each row, and where; of equal ones, the
    first come first.

    They all lie in the `count` groups of neighbours whose maxima are the largest (the first, of
    equal ones): one that lies in another group has the maximum of each of these before it.
    """
    B, V = x_BV.shape
    groups = -(-V // group)
    if groups <= count:
        return jax.lax.top_k(x_BV, count)
    whole = jnp.pad(x_BV, ((0, 0), (0, groups * group - V)), constant_values=-jnp.inf)
    x_BGS = whole.reshape(B, groups, group)
    chosen = jnp.sort(jax.lax.top_k(x_BGS.max(axis=2), count)[1], axis=1)
    among = jnp.take_along_axis(x_BGS, chosen[:, :, None], axis=1).reshape(B, -1)
    values, i = jax.lax.top_k(among, count)
    return values, jnp.take_along_axis(chosen, i // group, axis=1) * group + i % group
