"""What is asked, as hypothesis makes it: plain numbers and arrays that favour what goes wrong.

Ties, what lies exactly at a line or just beside it, the ends of ranges, tokens that are gone, and a
vocabulary of which one token is left. B rows of V tokens are enough for every function, and each
is compiled once. The models of the reference are built in the checks, not here.
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
Lines = st.SearchStrategy[Any]


def per_row(values: Lines) -> st.SearchStrategy[list[Any]]:
    """One for each row."""
    return st.lists(values, min_size=B, max_size=B)


def single(values: list[float]) -> Array:
    """(B,) float32."""
    return np.array(values, np.float32)


def chance(of: Callable[[np.random.Generator], Array]) -> Lines:
    """An array made by a generator: of many different values, which hypothesis finds expensive."""
    return st.integers(0, 2**32 - 1).map(lambda seed: of(np.random.default_rng(seed)))


# Logits, with ties: few different ones, which can be made simpler, or many.
ROWS = st.one_of(
    hnp.arrays(np.float32, (B, V), elements=VALUES),
    chance(lambda rng: rng.normal(0, 3, (B, V)).astype(np.float32)),
    chance(lambda rng: rng.normal(0, 3, (B, V)).round(1).astype(np.float32)),
)
FLAGS = st.one_of(hnp.arrays(np.bool_, (B, V)), chance(lambda rng: rng.random((B, V)) < 0.3))
COUNTS = st.one_of(
    hnp.arrays(np.int32, (B, V), elements=st.integers(0, 3)),
    chance(lambda rng: rng.poisson(0.5, (B, V)).astype(np.int32)),
)
# Halves of halves: what the likeliest have together is 1/2, 3/4, … of the whole.
HALVED = hnp.arrays(np.float32, (B, V), elements=st.integers(0, 12)).map(
    lambda halvings: halvings.astype(np.float32) * np.float32(-np.log(2))
)


@st.composite
def allowed(draw: st.DrawFn) -> Array:
    """(B, V) bool: in each row all, some or one of the tokens, and never none."""
    some = draw(FLAGS)
    for row, kind, kept in zip(
        some,
        draw(per_row(st.sampled_from(["all", "some", "one"]))),
        draw(per_row(st.integers(0, V - 1))),
        strict=True,
    ):
        row[:] = row | (kind == "all") if kind != "one" else False
        row[kept] = True
    return some


@st.composite
def truncatable(draw: st.DrawFn) -> Array:
    """(B, V) float32 with ties, a maximum of 0 in each row, and tokens that are gone."""
    x = np.where(draw(allowed()), draw(st.one_of(ROWS, HALVED)), np.float32(-np.inf))
    return x - x.max(axis=1, keepdims=True)


def beside(line: float) -> Lines:
    """What lies at a line, or so far beside it that it is no near decision."""
    offs = [off * ULPS for off in (0, 1.5, -1.5, 3, -3)]
    return st.sampled_from(offs).map(lambda off: min(max(line + off, 0.0), 1.0))


@st.composite
def with_mass(draw: st.DrawFn) -> dict[str, Any]:
    """x: truncatable. mass: for each row any, or what its highest levels have together."""
    x = draw(truncatable())
    mass = []
    for row in x:
        p = np.exp(row.astype(np.float64))
        level = p[draw(st.integers(0, V - 1))]
        reached = float(p[p >= level].sum() / p.sum())
        mass.append(draw(st.one_of(FRACTIONS, beside(reached))))
    return {"x": x, "mass": mass}


@st.composite
def with_fraction(draw: st.DrawFn) -> dict[str, Any]:
    """x: truncatable. fraction: for each row any, or the probability of one of its tokens, relative
    to the likeliest.
    """
    x = draw(truncatable())
    fraction = []
    for row in x:
        p = float(np.exp(np.float64(row[draw(st.integers(0, V - 1))])))
        off = draw(st.sampled_from([0, 3 * ULPS, -3 * ULPS]))
        fraction.append(draw(st.one_of(FRACTIONS, st.just(min(1.0, p * (1 + off))))))
    return {"x": x, "fraction": fraction}


@st.composite
def with_history(draw: st.DrawFn) -> dict[str, Any]:
    """x: logits. seen, counts: of its tokens; those of the likeliest, too, if they are touched."""
    x, seen, counts = draw(ROWS), draw(FLAGS), draw(COUNTS)
    for row, touched in enumerate(draw(per_row(st.booleans()))):
        if touched:
            best = int(x[row].argmax())
            seen[row, best], counts[row, best] = True, max(1, counts[row, best])
    return {"x": x, "seen": seen, "counts": counts}


# What one row of a sampler may ask for; each may be left out.
SAMPLED = st.fixed_dictionaries(
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
