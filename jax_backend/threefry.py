"""Chance for B rows at once: the twin of `reference.threefry`, on `jax.random`'s own Threefry."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, UInt32


def seed_key(seed: int) -> UInt32[np.ndarray, "2"]:
    """An integer modulo 2^64, as two words (high, low); `jax.random.key` would drop the first."""
    return np.array(divmod(seed % 2**64, 2**32), dtype=np.uint32)


def random_bits(
    seeds_B2: UInt32[Array, "B 2"],
    choices_B: Int32[Array, "B"],
    positions_B: Int32[Array, "B"],
    vocab_size: int,
) -> UInt32[Array, "B {vocab_size}"]:
    """`vocab_size` words for each row. Word i of a row depends on its seed, choice, position and i
    alone.
    """

    def row(seed: jax.Array, choice: jax.Array, position: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(seed, impl="threefry2x32")
        key = jax.random.fold_in(jax.random.fold_in(key, choice), position)
        return jax.random.bits(key, (vocab_size,))

    with jax.threefry_partitionable(True):
        return jax.vmap(row)(seeds_B2, choices_B, positions_B)


def gumbel(bits: UInt32[Array, "..."]) -> Float32[Array, "..."]:
    """Standard Gumbel noise, finite for every word, in the reference's order of operations."""
    u = (bits.astype(jnp.float32) + jnp.float32(0.5)) * jnp.float32(2**-32)
    u = jnp.minimum(u, jnp.float32(1 - 2**-24))
    return -jnp.log(-jnp.log1p(-u))
