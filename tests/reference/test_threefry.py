"""Random bits against Random123's published answers and against jax.random."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import threefry
from tests.support.strategies import SEEDS

# Random123's kat_vectors for threefry2x32, 20 rounds: counter, key, answer.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize("counter, key, answer", KNOWN_ANSWERS)
def test_known_answers(counter: tuple, key: tuple, answer: tuple) -> None:
    words = np.array(counter, dtype=np.uint32)[:, None]
    assert threefry.threefry2x32(np.array(key, dtype=np.uint32), words)[:, 0].tolist() == [*answer]


# Each count is compiled.
@given(SEEDS, st.integers(0, 3), st.integers(0, 2**32 - 1), st.sampled_from((1, 2, 7, 64, 299)))
def test_bits_equal_those_of_jax(seed: int, choice: int, position: int, count: int) -> None:
    key = jax.random.wrap_key_data(threefry.seed_key(seed))
    key = jax.random.fold_in(jax.random.fold_in(key, np.uint32(choice)), np.uint32(position))
    bits = threefry.random_bits(threefry.draw_key(seed, choice, position), count)
    np.testing.assert_array_equal(bits, jax.random.bits(key, (count,)))


@given(SEEDS)
def test_seed_is_modulo_two_to_the_64(seed: int) -> None:
    high, low = threefry.seed_key(seed).tolist()
    assert threefry.seed_key(seed + 2**64).tolist() == [high, low]
    assert high * 2**32 + low == seed % 2**64


def test_noise_is_finite_and_decreases_with_the_bits() -> None:
    bits = np.array([0, 1, 2**31, 2**32 - 129, 2**32 - 128, 2**32 - 1], dtype=np.uint32)
    noise = threefry.gumbel(bits)
    assert noise.dtype == np.float32 and np.isfinite(noise).all()
    assert (np.diff(noise) <= 0).all()


def test_noise_does_not_depend_on_vocabulary_size() -> None:
    few, many = (threefry.noise(5, 1, 9, size) for size in (10, 1000))
    np.testing.assert_array_equal(few, many[:10])


def test_noise_is_gumbel() -> None:
    """Mean (Euler's constant) and variance (π²/6) of 200,000 values, within 5 standard errors."""
    noise = threefry.noise(1, 0, 0, 200_000).astype(np.float64)
    assert abs(noise.mean() - np.euler_gamma) < 5 * np.sqrt(np.pi**2 / 6 / len(noise))
    assert abs(noise.var() - np.pi**2 / 6) < 5 * np.sqrt(4.4 * (np.pi**2 / 6) ** 2 / len(noise))
