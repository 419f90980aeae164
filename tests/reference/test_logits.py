"""Each sampling step against a slow transcription of its docstring, and known examples."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reference import logits as steps
from tests.support import strategies

FRACTIONS = st.one_of(st.sampled_from([0.0, 1e-6, 0.1, 0.25, 0.5, 0.9, 1.0]), st.floats(0, 1))


def kept(x: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.isfinite(x)).tolist())


def shift_max_to_zero(x: np.ndarray) -> np.ndarray:
    return x - x.max()


@given(strategies.logits(dropped=False), st.data())
def test_mask(x: np.ndarray, data: st.DataObject) -> None:
    allowed = data.draw(hnp.arrays(np.bool_, len(x)))
    expected = [v if a else -math.inf for v, a in zip(x.tolist(), allowed, strict=True)]
    assert steps.mask(x, allowed).tolist() == expected


@given(strategies.logits(), st.sampled_from([0.01, 0.5, 1.0, 1.3, 2.0, 5.0]), st.data())
def test_repetition_penalty(x: np.ndarray, penalty: float, data: st.DataObject) -> None:
    present = data.draw(hnp.arrays(np.bool_, len(x)))
    for before, after, is_present in zip(
        x, steps.repetition_penalty(x, present, penalty), present, strict=True
    ):
        penalized = float(before) / penalty if before > 0 else float(before) * penalty
        expected = penalized if is_present else float(before)
        assert after == pytest.approx(expected, rel=1e-6, abs=1e-30)


@given(strategies.logits(), st.floats(-2, 2, width=16), st.data())
def test_frequency_and_presence_penalty(x: np.ndarray, size: float, data: st.DataObject) -> None:
    counts = data.draw(hnp.arrays(np.int64, len(x), elements=st.integers(0, 5)))
    frequency = steps.frequency_penalty(x, counts, size)
    presence = steps.presence_penalty(x, counts, size)
    for i, count in enumerate(counts.tolist()):
        assert frequency[i] == pytest.approx(float(x[i]) - size * count, rel=1e-6, abs=1e-6)
        assert presence[i] == pytest.approx(float(x[i]) - size * (count > 0), rel=1e-6, abs=1e-6)


@given(strategies.logits(), st.floats(0.01, 2))
def test_temperature(x: np.ndarray, value: float) -> None:
    highest = max(x.tolist())
    for before, after in zip(x.tolist(), steps.temperature(x, value).tolist(), strict=True):
        assert after == pytest.approx((before - highest) / value, rel=1e-6, abs=1e-6)


@given(strategies.logits(), st.sampled_from([0.0, 1e-45, 1e-39, 1.1e-38]))
def test_zero_or_subnormal_temperature_is_greedy(x: np.ndarray, value: float) -> None:
    assert kept(steps.temperature(x, value)) == {x.tolist().index(max(x.tolist()))}


def test_min_temperature_keeps_ties_and_is_finite() -> None:
    x = steps.temperature(np.array([9, 9, 2], dtype=np.float32), float(np.finfo(np.float32).tiny))
    assert x.tolist() == [0, 0, -math.inf]


@given(strategies.logits(), FRACTIONS)
def test_min_p(x: np.ndarray, fraction: float) -> None:
    x = shift_max_to_zero(x)
    p = [math.exp(v) for v in x.tolist()]
    # A p very close to the threshold may be rounded to either side in float32.
    assume(all(q in (0, 1) or abs(q - fraction) > 1e-6 * fraction for q in p))
    expected = {i for i, q in enumerate(p) if q >= np.float32(fraction) and x[i] > -math.inf}
    assert kept(steps.min_p(x, fraction)) == expected


@given(strategies.logits(), st.integers(0, 50))
def test_top_k(x: np.ndarray, k: int) -> None:
    kth = sorted(x.tolist(), reverse=True)[min(k, len(x)) - 1] if k else -math.inf
    assert kept(steps.top_k(x, k)) == {
        i for i, v in enumerate(x.tolist()) if v >= kth > -math.inf
    } | (kept(x) if kth == -math.inf else set())


@given(strategies.logits(), FRACTIONS)
def test_top_p(x: np.ndarray, mass: float) -> None:
    x = shift_max_to_zero(x)
    weights = [Fraction(math.exp(v)) for v in x.tolist()]
    levels = sorted({w for w in weights if w}, reverse=True)
    expected: set[Fraction] = set()
    reached = Fraction(0)
    for level in levels:
        if expected and reached >= Fraction(mass):
            break
        expected.add(level)
        reached += level * weights.count(level) / sum(weights)
        # Within float64 rounding of the mass, either side is right.
        assume(mass == 1 or abs(reached - Fraction(mass)) > Fraction(1, 10**12))
    if mass == 1:
        expected = set(levels)
    assert kept(steps.top_p(x, mass)) == {i for i, w in enumerate(weights) if w in expected}


@pytest.mark.parametrize("step", [steps.min_p, steps.top_k, steps.top_p])
@given(strategies.logits(), st.integers(0, 4), FRACTIONS, st.randoms(use_true_random=False))
def test_kept_set_does_not_depend_on_token_order(step, x, k, fraction, random) -> None:
    x = shift_max_to_zero(x)
    value = k if step is steps.top_k else fraction
    order = list(range(len(x)))
    random.shuffle(order)
    np.testing.assert_array_equal(step(x, value)[order], step(x[order], value))
    assert np.isfinite(step(x, value)).any()


OFF = {
    "repetition_penalty": lambda x: steps.repetition_penalty(x, np.ones(len(x), dtype=bool), 1.0),
    "frequency_penalty": lambda x: steps.frequency_penalty(x, np.ones(len(x), dtype=np.int64), 0.0),
    "presence_penalty": lambda x: steps.presence_penalty(x, np.ones(len(x), dtype=np.int64), 0.0),
    "temperature": lambda x: steps.temperature(x, 1.0) + x.max(),
    "min_p": lambda x: steps.min_p(x, 0.0),
    "top_k": lambda x: steps.top_k(x, 0),
    "top_p": lambda x: steps.top_p(x, 1.0),
}


@pytest.mark.parametrize("name", OFF)
@given(strategies.logits())
def test_off_value_has_no_effect(name: str, x: np.ndarray) -> None:
    before = x.copy()
    np.testing.assert_allclose(OFF[name](x), x, rtol=0, atol=4e-6 if name == "temperature" else 0)
    np.testing.assert_array_equal(x, before)


def test_top_p_keeps_the_cutoff_level_whole() -> None:
    """p = (.5, .25, .25), mass .6. Engines that sort keep {0, 1} or {0, 2}; both ties are kept."""
    x = np.log(np.array([0.5, 0.25, 0.25], dtype=np.float32))
    assert kept(steps.top_p(x, 0.6)) == {0, 1, 2}
    assert kept(steps.top_p(x, 0.3)) == {0}
    assert kept(steps.top_p(x, 0.0)) == {0}


def test_top_k_keeps_boundary_ties() -> None:
    assert kept(steps.top_k(np.array([2, 1, 1, 1, 0], dtype=np.float32), 2)) == {0, 1, 2, 3}


def test_top_p_renormalizes_after_top_k() -> None:
    x = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    assert kept(steps.top_p(x, 0.55)) == {0, 1}
    assert kept(steps.top_p(steps.top_k(x, 2), 0.55)) == {0}
