"""Tests by betting: how often they err, what they find, and what the prompts are chosen by."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.oracle import dialects
from conformance.oracle.sampling import (
    PROMPTS,
    TELLING,
    apart_by,
    distance,
    mass,
    nudged,
    stable,
    telling,
)
from conformance.oracle.statistics import (
    log_anything,
    log_evidence,
    log_likelihood,
    log_mean_exp,
    rejects,
)
from conformance.oracle.truth import Step, Truth
from conformance.verdicts import Inconclusive
from reference.bundle import Bundle
from reference.sampler import final_logits

RUNS, LENGTH, LOOK = 2000, 200, 40
FAIR = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}
OTHER = {"a": 0.2, "b": 0.6, "c": 0.15, "d": 0.05}
MANY = {i: (i + 1) / 210 for i in range(20)}


def drawn(p: dict, length: int, rng: np.random.Generator) -> list:  # type: ignore[type-arg]
    names = list(p)
    return [names[i] for i in rng.choice(len(names), length, p=np.array(list(p.values())))]


@pytest.mark.parametrize("p, others", [(FAIR, []), (FAIR, [OTHER]), (MANY, [])])
def test_a_true_hypothesis_is_seldom_rejected_whenever_one_looks(p, others) -> None:  # type: ignore[no-untyped-def]
    """With α of 5% in fewer than 6.5% of 2000 runs: three standard deviations above."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(RUNS):
        samples = drawn(p, LENGTH, rng)
        looks = range(LOOK, LENGTH + 1, LOOK)
        wrong += any(rejects(log_evidence(samples[:n], p, others), 0.05) for n in looks)
    assert wrong / RUNS < 0.065


def test_what_is_clearly_wrong_is_found() -> None:
    rng = np.random.default_rng(1)
    for length, others in (LENGTH, []), (LENGTH // 2, [OTHER]):
        runs = [log_evidence(drawn(OTHER, length, rng), FAIR, others) for _ in range(100)]
        assert np.mean([rejects(evidence, 1e-6) for evidence in runs]) > 0.9


def test_what_is_suspected_is_found_sooner() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        samples = drawn(OTHER, LENGTH, rng)
        assert log_evidence(samples, FAIR, [OTHER]) > log_evidence(samples, FAIR)


def test_many_outcomes_hide_nothing() -> None:
    """Those beyond the likeliest are counted together."""
    samples = drawn(MANY, LENGTH, np.random.default_rng(2))
    assert rejects(log_evidence(samples, {i: 1 / 20 for i in range(20)}), 1e-6) is False
    assert rejects(log_evidence([0] * LENGTH, MANY), 1e-6)


def test_an_impossible_sample_is_enough() -> None:
    assert log_evidence(["a", "e"], FAIR) == math.inf
    assert log_evidence(["a"], {"a": 0.0, "b": 1.0}, [OTHER]) == math.inf
    assert rejects(log_evidence(["e"], FAIR), 1e-300)


def test_a_bet_on_what_cannot_be_loses_only_its_stake() -> None:
    samples = ["a", "b"] * 20
    assert math.isfinite(log_evidence(samples, FAIR, [{"a": 1.0}]))


def test_no_samples_are_no_evidence() -> None:
    assert log_evidence([], FAIR, [OTHER]) == 0


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=8))
def test_the_mean_of_exponentials(values: list[float]) -> None:
    expected = math.log(sum(math.exp(v - max(values)) for v in values) / len(values)) + max(values)
    assert log_mean_exp(values) == pytest.approx(expected, abs=1e-9)
    assert min(values) - 1e-9 <= log_mean_exp(values) <= max(values) + 1e-9


@given(st.integers(1, 6))
def test_a_distribution_of_which_nothing_is_known_is_one(length: int) -> None:
    """Its likelihoods of all sequences add up to 1."""
    total = 0.0
    for heads in range(length + 1):
        total += math.comb(length, heads) * math.exp(log_anything({0: heads, 1: length - heads}, 2))
    assert total == pytest.approx(1)


def test_the_likelihood() -> None:
    assert log_likelihood({"a": 2, "b": 1}, FAIR) == pytest.approx(math.log(0.5 * 0.5 * 0.3))
    assert log_likelihood({"a": 1, "e": 1}, FAIR) == -math.inf
    assert log_likelihood({"a": 1, "e": 0}, FAIR) == pytest.approx(math.log(0.5))


@pytest.fixture(scope="module")
def truth(tiny_model: Bundle) -> Truth:
    return Truth(tiny_model)


def with_logits(truth: Truth, logits: list[float], **params: float) -> Step:
    """A step of a vocabulary in which all other tokens are far away."""
    step = truth.first(PROMPTS[0], {"temperature": 1, **params})
    x = np.full(len(step.logits), -50, np.float32)
    x[1000 : 1000 + len(logits)] = logits
    return Step(x, step.history, -1)


def test_nudges_leave_ties(truth: Truth) -> None:
    step = with_logits(truth, [5, 4, 4, 3])
    for x in nudged(step.logits, 0.01):
        assert x[1001] == x[1002] and np.abs(x - step.logits).max() <= 0.0101
        assert not np.array_equal(x, step.logits)


def test_what_hangs_on_the_tolerance_is_not_stable(truth: Truth) -> None:
    assert stable(with_logits(truth, [5, 4, 4, 3], top_k=2), 0.01)  # the tie stays whole
    assert stable(with_logits(truth, [5, 4, 3.5, 3], top_k=2), 0.01)
    assert not stable(with_logits(truth, [5, 4, 3.999, 3], top_k=2), 0.01)


def test_the_prompt_that_tells_most(truth: Truth) -> None:
    """It is told from the dialect and from what comes of leaving the parameter out."""
    [ties] = [d for d in dialects.DIALECTS if d.name == "top_k by rank: ties are cut"]
    grid = [{"temperature": 1, "top_k": k} for k in range(1, 9)]
    prompt, params = telling(truth, lambda logits: grid, [ties.name])
    best = distance(truth.first(prompt, params), [ties], params)
    assert best >= TELLING
    for other in PROMPTS:
        for tried in grid:
            step = truth.first(other, tried)
            assert distance(step, [ties], tried) <= best or not stable(step, truth.tolerance)
    step = truth.first(prompt, params)
    assert apart_by(mass(final_logits, step), mass(ties.final, step)) >= best


def test_where_nothing_tells(truth: Truth) -> None:
    with pytest.raises(Inconclusive, match="top_k"):
        off = [{"temperature": 1, "top_k": 0}]
        telling(truth, lambda logits: off, ["top_k by rank: ties are cut"])
