"""Counter-based random numbers: a pure function of (seed, choice, position, token id).

Threefry-2x32 with 20 rounds: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1,
2, 3" (SC 2011). Keys and counters are laid out as in `jax.random` with
`jax_threefry_partitionable`, so both give the same bits.
"""

import numpy as np
from jaxtyping import Float32, UInt32

Key = UInt32[np.ndarray, "2"]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def threefry2x32(key: Key, counter: UInt32[np.ndarray, "2 C"]) -> UInt32[np.ndarray, "2 C"]:
    """Encrypt C counters of two 32-bit words. Arithmetic is modulo 2^32."""
    schedule = key[0], key[1], key[0] ^ key[1] ^ PARITY
    a, b = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            a = a + b
            b = (b << np.uint32(distance)) | (b >> np.uint32(32 - distance))
            b = b ^ a
        a = a + schedule[(group + 1) % 3]
        b = b + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return np.stack([a, b])


def seed_key(seed: int) -> Key:
    """Return the key of a seed: two 32-bit words (high, low).

    Meaning:   the seed modulo 2^64. `jax.random.key` drops the high word unless x64 is on; this
               key keeps it.
    Boundary:  −1 and 2^64 − 1 are the same seed.
    Off value: null: each request gets a fresh random seed.
    Example:   2^32 + 5 has the words 1 and 5.
               >>> seed_key(2**32 + 5).tolist()
               [1, 5]
               >>> seed_key(-1).tolist() == seed_key(2**64 - 1).tolist()
               True
    """
    return np.array(divmod(seed % 2**64, 2**32), dtype=np.uint32)


def fold_in(key: Key, number: int) -> Key:
    """Derive a new key from a key and a number below 2^32."""
    return threefry2x32(key, np.array([[0], [number]], dtype=np.uint32))[:, 0]


def random_bits(key: Key, count: int) -> UInt32[np.ndarray, "count"]:
    """Return `count` words. Word i depends only on the key and on i."""
    index = np.arange(count, dtype=np.uint32)
    a, b = threefry2x32(key, np.stack([np.zeros_like(index), index]))
    return a ^ b


def gumbel(bits: UInt32[np.ndarray, "V"]) -> Float32[np.ndarray, "V"]:
    """Convert random bits to standard Gumbel noise, in float32 and in this order of operations.

    u = min((bits + ½) · 2⁻³², 1 − 2⁻²⁴) is in (0, 1), and g = −log(−log1p(−u)) is finite for every
    word. Without the minimum the 128 highest words would give infinite noise, which would win the
    argmax whatever the logits are.
    """
    u = (bits.astype(np.float32) + np.float32(0.5)) * np.float32(2**-32)
    u = np.minimum(u, np.float32(1 - 2**-24))
    return -np.log(-np.log1p(-u))


def draw_key(seed: int, choice: int, position: int) -> Key:
    """Return the key of one sampling step.

    Meaning:   the key of choice i is the seed's key with i, and then the number of tokens that the
               choice has generated, folded in. It depends on nothing else, neither on the batch
               nor on `n`: choice i is the same sequence for every `n` > i.
    Boundary:  the choices of seed s and of seed s + 1 share no key.
    Off value: n = 1 leaves choice 0.
    Source:    Salmon et al. 2011 (Threefry); `jax.random.fold_in`.
    Example:   choice 1 of seed 0 is not choice 0 of seed 1, as it would be with seed + choice.
               >>> bool((draw_key(0, 1, 0) == draw_key(1, 0, 0)).any())
               False
    """
    return fold_in(fold_in(seed_key(seed), choice), position)


def noise(
    seed: int, choice: int, position: int, vocab_size: int
) -> Float32[np.ndarray, "vocab_size"]:
    """Return the Gumbel noise of one sampling step, one value per token id."""
    return gumbel(random_bits(draw_key(seed, choice, position), vocab_size))
