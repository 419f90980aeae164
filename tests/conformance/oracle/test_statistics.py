"""E-values: error rate and power of the tests; the search for discriminating prompts."""

import math
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.fixtures.prompts import PROMPTS
from conformance.http.client import Server, Target
from conformance.http.oracle import DecodeStep
from conformance.oracle import dialects
from conformance.oracle.prompt_search import (
    MIN_DISTINGUISHABILITY,
    discriminating_prompt,
    distinguishability,
    is_robust,
    min_distinguishability,
    perturbed,
    probabilities_after,
)
from conformance.oracle.reference_oracle import ReferenceOracle
from conformance.oracle.statistics import (
    log_e_value,
    log_likelihood,
    log_mean_exp,
    log_universal_likelihood,
    rejects,
)
from conformance.verdicts import Inconclusive
from reference.bundle import Bundle
from reference.sampler import final_logits

RUNS, LENGTH, SAMPLES_PER_LOOK = 2000, 200, 40
FAIR = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}
SKEWED = {"a": 0.2, "b": 0.6, "c": 0.15, "d": 0.05}
MANY = {i: (i + 1) / 210 for i in range(20)}


def draw(p: dict, length: int, rng: np.random.Generator) -> list:  # type: ignore[type-arg]
    names = list(p)
    return [names[i] for i in rng.choice(len(names), length, p=np.array(list(p.values())))]


@pytest.mark.parametrize("p, others", [(FAIR, []), (FAIR, [SKEWED]), (MANY, [])])
def test_error_rate_with_optional_stopping(p, others) -> None:  # type: ignore[no-untyped-def]
    """Require fewer than 6.5% of 2000 runs at α = 5%, three standard deviations above."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(RUNS):
        samples = draw(p, LENGTH, rng)
        looks = range(SAMPLES_PER_LOOK, LENGTH + 1, SAMPLES_PER_LOOK)
        wrong += any(rejects(log_e_value(samples[:n], p, others), 0.05) for n in looks)
    assert wrong / RUNS < 0.065


def test_power_against_a_clear_deviation() -> None:
    rng = np.random.default_rng(1)
    for length, others in (LENGTH, []), (LENGTH // 2, [SKEWED]):
        runs = [log_e_value(draw(SKEWED, length, rng), FAIR, others) for _ in range(100)]
        assert np.mean([rejects(evidence, 1e-6) for evidence in runs]) > 0.9


def test_suspected_alternative_adds_power() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        samples = draw(SKEWED, LENGTH, rng)
        assert log_e_value(samples, FAIR, [SKEWED]) > log_e_value(samples, FAIR)


def test_merged_outcomes_keep_power() -> None:
    """Use more outcomes than are counted separately."""
    samples = draw(MANY, LENGTH, np.random.default_rng(2))
    assert rejects(log_e_value(samples, {i: 1 / 20 for i in range(20)}), 1e-6) is False
    assert rejects(log_e_value([0] * LENGTH, MANY), 1e-6)


def test_impossible_sample_rejects() -> None:
    assert log_e_value(["a", "e"], FAIR) == math.inf
    assert log_e_value(["a"], {"a": 0.0, "b": 1.0}, [SKEWED]) == math.inf
    assert rejects(log_e_value(["e"], FAIR), 1e-300)


def test_impossible_alternative_keeps_the_e_value_finite() -> None:
    samples = ["a", "b"] * 20
    assert math.isfinite(log_e_value(samples, FAIR, [{"a": 1.0}]))


def test_empty_sample_has_log_e_value_zero() -> None:
    assert log_e_value([], FAIR, [SKEWED]) == 0


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=8))
def test_log_mean_exp(values: list[float]) -> None:
    expected = math.log(sum(math.exp(v - max(values)) for v in values) / len(values)) + max(values)
    assert log_mean_exp(values) == pytest.approx(expected, abs=1e-9)
    assert min(values) - 1e-9 <= log_mean_exp(values) <= max(values) + 1e-9


@given(st.integers(1, 6))
def test_universal_likelihood_is_normalized(length: int) -> None:
    """The likelihoods of all sequences sum to 1."""
    total = 0.0
    for heads in range(length + 1):
        total += math.comb(length, heads) * math.exp(
            log_universal_likelihood({0: heads, 1: length - heads}, 2)
        )
    assert total == pytest.approx(1)


def test_log_likelihood() -> None:
    assert log_likelihood({"a": 2, "b": 1}, FAIR) == pytest.approx(math.log(0.5 * 0.5 * 0.3))
    assert log_likelihood({"a": 1, "e": 1}, FAIR) == -math.inf
    assert log_likelihood({"a": 1, "e": 0}, FAIR) == pytest.approx(math.log(0.5))


@pytest.fixture(scope="module")
def oracle(tiny_model: Bundle) -> ReferenceOracle:
    return ReferenceOracle(tiny_model)


@pytest.fixture
def server(oracle: ReferenceOracle) -> Iterator[Server]:
    """Return a server that is never sent a request."""
    with httpx.Client() as http:
        yield Target(base="http://none", model="none", http=http, oracle=oracle).server("test")


def with_logits(
    oracle: ReferenceOracle, logits: list[float], error: float = 0.01, **params: float
) -> DecodeStep:
    """Return a step in which all other tokens have very low logits."""
    step = oracle.first_step(PROMPTS[0], {"temperature": 1, **params})
    x = np.full(len(step.logits), -50, np.float32)
    x[1000 : 1000 + len(logits)] = logits
    return DecodeStep(x, step.history, -1, error)


def test_perturbations_keep_ties(oracle: ReferenceOracle) -> None:
    step = with_logits(oracle, [5, 4, 4, 3])
    for x in perturbed(step.logits, step.error):
        assert x[1001] == x[1002] and np.abs(x - step.logits).max() <= 0.0101
        assert not np.array_equal(x, step.logits)


def test_choice_within_tolerance_is_not_robust(oracle: ReferenceOracle) -> None:
    assert is_robust(with_logits(oracle, [5, 4, 4, 3], top_k=2))  # both tied tokens stay
    assert is_robust(with_logits(oracle, [5, 4, 3.5, 3], top_k=2))
    assert not is_robust(with_logits(oracle, [5, 4, 3.999, 3], top_k=2))
    assert not is_robust(with_logits(oracle, [5, 4, 3.5, 3], error=0.3, top_k=2))


def test_discriminating_prompt_is_the_best(oracle: ReferenceOracle, server: Server) -> None:
    """It distinguishes the dialect, and leaving the parameter out."""
    [ties] = [d for d in dialects.DIALECTS if d.name == "top_k by rank: ties are cut"]
    grid = [{"temperature": 1, "top_k": k} for k in range(1, 9)]
    prompt, params = discriminating_prompt(server, lambda logits: grid, [ties.name])
    best = min_distinguishability(oracle.first_step(prompt, params), [ties], params)
    assert best >= MIN_DISTINGUISHABILITY
    for candidate in PROMPTS:
        for tried in grid:
            step = oracle.first_step(candidate, tried)
            assert min_distinguishability(step, [ties], tried) <= best or not is_robust(step)
    step = oracle.first_step(prompt, params)
    assert (
        distinguishability(
            probabilities_after(final_logits, step), probabilities_after(ties.final, step)
        )
        >= best
    )


def test_indistinguishable_dialect_is_inconclusive(server: Server) -> None:
    with pytest.raises(Inconclusive, match="top_k"):
        off = [{"temperature": 1, "top_k": 0}]
        discriminating_prompt(server, lambda logits: off, ["top_k by rank: ties are cut"])
