"""The order of the sampling steps, and sampling."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import sampler, threefry
from reference.logits import probabilities
from reference.params import CompletionParams
from reference.sampler import SamplingHistory
from tests.support import strategies


def history(size: int, **params: float) -> SamplingHistory:
    return SamplingHistory(
        params=CompletionParams(**params),
        allowed=np.ones(size, dtype=np.bool_),
        present=np.zeros(size, dtype=np.bool_),
        counts=np.zeros(size, dtype=np.int64),
    )


def log(*p: float) -> np.ndarray:
    return np.log(np.array(p, dtype=np.float32))


def kept(x: np.ndarray, h: SamplingHistory) -> list[int]:
    return np.flatnonzero(np.isfinite(sampler.final_logits(x, h))).tolist()


def test_order_of_the_steps() -> None:
    assert [name for name, _ in sampler.STEPS] == [
        "response_format",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "temperature",
        "min_p",
        "top_k",
        "top_p",
    ]


def test_temperature_comes_before_truncation() -> None:
    """At T = 2 the probabilities, as √p, are (.38, .29, .21, .12): a mass of .7 keeps three."""
    x = log(0.5, 0.3, 0.15, 0.05)
    assert kept(x, history(4, temperature=2, top_p=0.7)) == [0, 1, 2]
    assert kept(x, history(4, temperature=1, top_p=0.7)) == [0, 1]
    assert kept(x, history(4, temperature=2, min_p=0.4)) == [0, 1, 2]
    assert kept(x, history(4, temperature=1, min_p=0.4)) == [0, 1]


def test_top_p_renormalizes_after_min_p_and_top_k() -> None:
    x = log(0.4, 0.3, 0.2, 0.1)
    assert kept(x, history(4, top_k=2, top_p=0.55)) == [0]
    assert kept(x, history(4, min_p=0.7, top_p=0.55)) == [0]


def test_min_p_comes_before_top_k() -> None:
    assert kept(log(0.4, 0.3, 0.2, 0.1), history(4, min_p=0.45, top_k=3)) == [0, 1, 2]


def test_repetition_penalty_comes_before_other_penalties() -> None:
    h = history(2, repetition_penalty=2.0, frequency_penalty=0.5, presence_penalty=0.25)
    h.present[:], h.counts[1] = True, 2
    x = dict(sampler.trace(np.array([3, 4], dtype=np.float32), h))
    assert x["presence_penalty"].tolist() == [1.5, 4 / 2 - 0.5 * 2 - 0.25]


def test_greedy_uses_penalized_logits() -> None:
    h = dataclasses.replace(history(3, temperature=0, presence_penalty=2.0))
    x = np.array([1, 2, 1.5], dtype=np.float32)
    assert sampler.sample(x, h, np.zeros(3, dtype=np.float32)) == 1
    h.counts[1] = 1
    assert sampler.sample(x, h, np.zeros(3, dtype=np.float32)) == 2


@given(strategies.logits(dropped=False), strategies.SEEDS)
def test_greedy_equals_top_k_1_without_ties(x: np.ndarray, seed: int) -> None:
    noise = threefry.noise(seed, 0, 0, len(x))
    greedy = sampler.sample(x, history(len(x), temperature=0), noise)
    assert greedy == int(np.argmax(x))
    if (x == x.max()).sum() == 1:
        assert sampler.sample(x, history(len(x), top_k=1), noise) == greedy


@given(strategies.logits(dropped=False), strategies.SEEDS, st.data())
def test_only_allowed_tokens_are_sampled(x: np.ndarray, seed: int, data: st.DataObject) -> None:
    h = history(len(x), temperature=2)
    only = data.draw(st.integers(0, len(x) - 1))
    h.allowed[:] = False
    h.allowed[only] = True
    assert sampler.sample(x, h, threefry.noise(seed, 0, 0, len(x))) == only


def test_frequencies_are_the_softmax() -> None:
    """Pearson's χ² of 5,000 samples has 4 degrees of freedom; it is 33.4 at p = 10⁻⁶."""
    x = log(0.4, 0.3, 0.15, 0.1, 0.04, 0.01)
    h = history(6, temperature=1.3, min_p=0.05)
    final = sampler.final_logits(x, h)
    p = probabilities(final)
    samples = [sampler.gumbel_argmax(final, threefry.noise(11, 0, i, 6)) for i in range(5_000)]
    counts = np.bincount(samples, minlength=6)
    assert counts[p == 0].sum() == 0
    expected = p[p > 0] * len(samples)
    assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 33.4


def test_only_end_tokens_among_special_ones_are_allowed() -> None:
    allowed = sampler.allowed_tokens(6, frozenset({0, 1, 2, 5, 9}), frozenset({2, 5}))
    assert allowed.tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_logits_are_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        sampler.sample(np.array([0, bad], dtype=np.float32), history(2), np.zeros(2, np.float32))
