"""Sampled tokens tested against the distribution of a case."""

import numpy as np
import pytest

from conformance.vectors.comparing import compare
from conformance.vectors.samples import MIN_SAMPLES
from conformance.verdicts import Verdict
from tests.conformance.vectors.conftest import Families

ALPHA = 1e-6


def draws(probabilities: list[float], count: int, seed: int = 0) -> list[int]:
    p = np.array(probabilities) / sum(probabilities)
    return np.random.default_rng(seed).choice(len(p), count, p=p).tolist()


def verdicts(families: Families, dialect: str | None, count: int) -> list[tuple[Verdict, str]]:
    header, cases = families["distribution"]
    results = []
    for seed, case in enumerate(cases):
        values = case.expect if dialect is None else case.dialects.get(dialect)
        if values is not None:
            tokens = draws(values["probabilities"], count, seed)
            outcome = compare(case, header["compare"], {"tokens": tokens}, ALPHA)
            results.append((outcome.verdict, outcome.note) if outcome else (Verdict.PASS, ""))
    return results


def test_right_samples_pass(families: Families) -> None:
    assert {v for v, _ in verdicts(families, None, MIN_SAMPLES)} == {Verdict.PASS}
    assert {v for v, _ in verdicts(families, None, 20 * MIN_SAMPLES)} == {Verdict.PASS}


def test_few_samples_are_inconclusive(families: Families) -> None:
    assert {v for v, _ in verdicts(families, None, 30)} == {Verdict.INCONCLUSIVE}


def test_dialects_of_a_case_are_named(families: Families) -> None:
    _, cases = families["distribution"]
    names = {name for case in cases for name in case.dialects}
    assert len(names) >= 8
    for name in names:
        results = verdicts(families, name, MIN_SAMPLES)
        assert all(v is Verdict.NON_STRICT and name in note for v, note in results), name


def test_another_distribution_fails(families: Families) -> None:
    header, cases = families["distribution"]
    for case in cases:
        p = np.array(case.expect["probabilities"])
        if (p > 0.02).sum() > 2:
            tokens = draws((p**2).tolist(), MIN_SAMPLES)
            outcome = compare(case, header["compare"], {"tokens": tokens}, ALPHA)
            assert outcome is not None and outcome.verdict in (Verdict.FAIL, Verdict.NON_STRICT)


@pytest.mark.parametrize("tokens", [5, ["a"], [True], [-1], [99], [0.0], None])
def test_tokens_that_are_not_ids(families: Families, tokens: object) -> None:
    header, cases = families["distribution"]
    outcome = compare(cases[0], header["compare"], {"tokens": tokens}, ALPHA)
    assert outcome is not None and outcome.verdict is Verdict.ERROR
