"""Hypothesis strategies for the functions of the sampler, biased towards edge cases.

Ties, values exactly at a threshold or next to it, the ends of ranges, disallowed tokens, and rows
with a single allowed token. B rows of V tokens are enough for every function, and each function is
compiled once. Models are built in the checks, not here.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.parity.harness.tolerance import ULPS

B, V = 3, 37

SEEDS = st.one_of(
    st.sampled_from([0, 1, -1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]),
    st.integers(-(2**63), 2**64 - 1),
)
VALUES = st.one_of(
    st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]),
    st.floats(-20, 20, width=32, allow_subnormal=False),
)
FRACTIONS = st.one_of(st.sampled_from([0.0, 1e-6, 0.25, 0.5, 1.0]), st.floats(0, 1))
POSITIONS = st.one_of(st.sampled_from([0, 1, 2**31 - 1]), st.integers(0, 2**20))
PENALTIES = st.one_of(st.sampled_from([-2.0, 0.0, 0.5, 2.0]), st.floats(-2, 2))
REPETITION_PENALTIES = st.one_of(st.sampled_from([0.01, 0.5, 1.0, 1.3, 5.0]), st.floats(0.01, 5))
TEMPERATURES = st.one_of(st.sampled_from([0.0, 0.3, 1.0, 2.0]), st.floats(0.01, 2))

Array = np.ndarray
Strategy = st.SearchStrategy[Any]


def per_row(values: Strategy) -> st.SearchStrategy[list[Any]]:
    """Generate a value for each row."""
    return st.lists(values, min_size=B, max_size=B)


def float32(values: list[float]) -> Array:
    """Return the values as a (B,) float32 array."""
    return np.array(values, np.float32)


def arrays_from_seed(build: Callable[[np.random.Generator], Array]) -> Strategy:
    """Generate an array from a seed: many different values are expensive for hypothesis."""
    return st.integers(0, 2**32 - 1).map(lambda seed: build(np.random.default_rng(seed)))


# Logits with ties: few different values, which shrink well, or many.
LOGITS = st.one_of(
    hnp.arrays(np.float32, (B, V), elements=VALUES),
    arrays_from_seed(lambda rng: rng.normal(0, 3, (B, V)).astype(np.float32)),
    arrays_from_seed(lambda rng: rng.normal(0, 3, (B, V)).round(1).astype(np.float32)),
)
FLAGS = st.one_of(
    hnp.arrays(np.bool_, (B, V)), arrays_from_seed(lambda rng: rng.random((B, V)) < 0.3)
)
COUNTS = st.one_of(
    hnp.arrays(np.int32, (B, V), elements=st.integers(0, 3)),
    arrays_from_seed(lambda rng: rng.poisson(0.5, (B, V)).astype(np.int32)),
)
# Powers of 1/2: the most likely tokens have 1/2, 3/4, … of the total mass.
POWERS_OF_HALF = hnp.arrays(np.float32, (B, V), elements=st.integers(0, 12)).map(
    lambda halvings: halvings.astype(np.float32) * np.float32(-np.log(2))
)


@st.composite
def allowed(draw: st.DrawFn) -> Array:
    """Generate a (B, V) mask that allows all, some or one of the tokens of each row."""
    mask = draw(FLAGS)
    for row, kind, kept in zip(
        mask,
        draw(per_row(st.sampled_from(["all", "some", "one"]))),
        draw(per_row(st.integers(0, V - 1))),
        strict=True,
    ):
        row[:] = row | (kind == "all") if kind != "one" else False
        row[kept] = True
    return mask


@st.composite
def truncatable(draw: st.DrawFn) -> Array:
    """Generate (B, V) logits with ties, a maximum of 0 in each row, and disallowed tokens."""
    x = np.where(draw(allowed()), draw(st.one_of(LOGITS, POWERS_OF_HALF)), np.float32(-np.inf))
    return x - x.max(axis=1, keepdims=True)


def around(threshold: float) -> Strategy:
    """Generate the threshold, or a value just far enough from it not to be borderline."""
    offsets = [ulps * ULPS for ulps in (0, 1.5, -1.5, 3, -3)]
    return st.sampled_from(offsets).map(lambda offset: min(max(threshold + offset, 0.0), 1.0))


@st.composite
def with_mass(draw: st.DrawFn) -> dict[str, Any]:
    """Generate truncatable logits x, and a mass for each row: any, or that of its top levels."""
    x = draw(truncatable())
    mass = []
    for row in x:
        p = np.exp(row.astype(np.float64))
        level = p[draw(st.integers(0, V - 1))]
        reached = float(p[p >= level].sum() / p.sum())
        mass.append(draw(st.one_of(FRACTIONS, around(reached))))
    return {"x": x, "mass": mass}


@st.composite
def with_fraction(draw: st.DrawFn) -> dict[str, Any]:
    """Generate truncatable logits x, and a fraction for each row: any, or the probability of one of
    its tokens relative to the maximum.
    """
    x = draw(truncatable())
    fraction = []
    for row in x:
        p = float(np.exp(np.float64(row[draw(st.integers(0, V - 1))])))
        offset = draw(st.sampled_from([0, 3 * ULPS, -3 * ULPS]))
        fraction.append(draw(st.one_of(FRACTIONS, st.just(min(1.0, p * (1 + offset))))))
    return {"x": x, "fraction": fraction}


@st.composite
def with_history(draw: st.DrawFn) -> dict[str, Any]:
    """Generate logits x, and the tokens present and their counts, often including the top token."""
    x, present, counts = draw(LOGITS), draw(FLAGS), draw(COUNTS)
    for row, include_top in enumerate(draw(per_row(st.booleans()))):
        if include_top:
            top = int(x[row].argmax())
            present[row, top], counts[row, top] = True, max(1, counts[row, top])
    return {"x": x, "present": present, "counts": counts}


# The parameters of one row; each may be omitted.
SAMPLING_PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.one_of(st.just(1e-45), TEMPERATURES),
        "min_p": st.one_of(st.sampled_from([0.0, 0.1, 1.0]), FRACTIONS),
        "top_k": st.one_of(st.sampled_from([0, 1, 5, V - 1, V, 2**40]), st.integers(0, V + 3)),
        "top_p": st.one_of(st.sampled_from([0.0, 0.5, 0.9, 1.0]), FRACTIONS),
        "repetition_penalty": REPETITION_PENALTIES,
        "frequency_penalty": PENALTIES,
        "presence_penalty": PENALTIES,
    },
)
