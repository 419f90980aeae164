"""Random bits, and the Gumbel noise computed from them."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.strategies import POSITIONS, SEEDS, B, V, per_row
from conformance.parity.harness.tolerance import assert_close, assert_equal
from jax_backend import threefry
from reference import threefry as spec

EXTREMES = np.array([0, 1, 2**32 - 1, 2**32 - 128], np.uint32)


def random_bits(example: dict[str, Any], coverage: Coverage) -> None:
    """The random bits of a seed, a choice and a position are the reference's, in every row."""
    seeds, choices, positions = example["seed"], example["choice"], example["position"]
    keys = np.array([threefry.seed_key(seed) for seed in seeds])
    numbers = np.array(choices, np.int32), np.array(positions, np.int32)
    actual = compiled(threefry.random_bits, 3)(keys, *numbers, V)
    for i in range(B):
        key = spec.draw_key(seeds[i], choices[i], positions[i])
        assert_equal(actual[i], spec.random_bits(key, V))


def gumbel(words: np.ndarray, coverage: Coverage) -> None:
    """Gumbel noise is finite for every word and equals the reference's."""
    words = np.concatenate([EXTREMES, words])
    actual, expected = compiled(threefry.gumbel)(words), spec.gumbel(words)
    assert np.isfinite(actual).all()
    assert_close(actual, expected, size=1)


PROPERTIES = (
    Property(
        "threefry/random_bits",
        st.fixed_dictionaries(
            {
                "seed": per_row(SEEDS),
                "choice": per_row(st.integers(0, 3)),
                "position": per_row(POSITIONS),
            }
        ),
        random_bits,
    ),
    Property("threefry/gumbel", hnp.arrays(np.uint32, V - len(EXTREMES)), gumbel),
)
