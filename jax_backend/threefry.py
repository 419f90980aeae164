"""Counter-based random numbers for B rows at once: the twin of `reference.threefry`.

The rounds are implemented here rather than with `jax.random`, so that the compiler fuses them and
the noise into one loop: on a CPU `jax.random` stores the state of every round in memory. The bits
are the same.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, UInt32

Words = UInt32[Array, "..."]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def threefry2x32(key: tuple[Words, Words], a: Words, b: Words) -> tuple[Words, Words]:
    """Encrypt the counters (a, b) elementwise, each with its own key."""
    schedule = key[0], key[1], key[0] ^ key[1] ^ PARITY
    a, b = a + schedule[0], b + schedule[1]
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            a = a + b
            b = (b << np.uint32(distance)) | (b >> np.uint32(32 - distance))
            b = b ^ a
        a = a + schedule[(group + 1) % 3]
        b = b + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def seed_key(seed: int) -> UInt32[np.ndarray, "2"]:
    """Return the seed modulo 2^64 as two words (high, low); `jax.random.key` drops the high one."""
    return np.array(divmod(seed % 2**64, 2**32), dtype=np.uint32)


def fold_in(key: tuple[Words, Words], number: Int32[Array, "B"]) -> tuple[Words, Words]:
    """Derive a new key from a key and a number, in each row."""
    number = number.astype(jnp.uint32)
    return threefry2x32(key, jnp.zeros_like(number), number)


def draw_key(
    seeds_B2: UInt32[Array, "B 2"], choices_B: Int32[Array, "B"], positions_B: Int32[Array, "B"]
) -> tuple[Words, Words]:
    """Return the key of one sampling step of each row."""
    return fold_in(fold_in((seeds_B2[:, 0], seeds_B2[:, 1]), choices_B), positions_B)


def random_bits(
    seeds_B2: UInt32[Array, "B 2"],
    choices_B: Int32[Array, "B"],
    positions_B: Int32[Array, "B"],
    vocab_size: int,
) -> UInt32[Array, "B {vocab_size}"]:
    """Return `vocab_size` words for each row. Word i of a row depends only on its seed, choice,
    position and on i.
    """
    high, low = draw_key(seeds_B2, choices_B, positions_B)
    # Without the barrier the compiler would recompute the row's key for each of its words.
    high, low = jax.lax.optimization_barrier((high, low))
    index_BV = jax.lax.broadcasted_iota(jnp.uint32, (len(choices_B), vocab_size), 1)
    a, b = threefry2x32((high[:, None], low[:, None]), jnp.zeros_like(index_BV), index_BV)
    return a ^ b


def gumbel(bits: UInt32[Array, "..."]) -> Float32[Array, "..."]:
    """Convert bits to standard Gumbel noise, finite for every word, in the reference's order of
    operations.
    """
    u = (bits.astype(jnp.float32) + jnp.float32(0.5)) * jnp.float32(2**-32)
    u = jnp.minimum(u, jnp.float32(1 - 2**-24))
    return -jnp.log(-jnp.log1p(-u))
