"""Servers that compute in 16 bits: a conforming one has no finding, and wrong ones are detected."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.harness.registry import Check, all_checks
from conformance.harness.runner import run_one
from conformance.http.client import Target
from conformance.oracle.reference_oracle import TOLERANCE
from conformance.verdicts import Depth, Verdict
from reference.bundle import Bundle
from tests.conformance import tiny_models
from tests.conformance.conftest import target
from tests.conformance.mutants import Mutant
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.sixteen_bits import (
    in_sixteen_bits,
    to_bfloat16,
    to_float16,
)
from tests.conformance.power import (
    numeric_mutants,
    power_against,
    read,
    with_measured_tolerance,
)

TEXT_CHECKS = [c for c in all_checks() if not tiny_models.needs_vision(c.id)]
# The most sensitive check of samples, of a threshold and of reported values; lanes have the others.
FAST_CHECKS = [
    c
    for c in TEXT_CHECKS
    if c.id in ("sampler/draws-match-reference", "top_p/after-temperature")
    or c.depth is Depth.TRUTH
    and c.parameter in ("logprobs", "echo")
]
OTHER_CHECKS = [c for c in TEXT_CHECKS if c not in FAST_CHECKS]
# A mutant of samples, of a threshold, of a penalty, of seeds and of reported values.
CLEAR_MUTANTS = (
    *("temperature/ignored", "top_p/ignored", "repetition_penalty/ignored"),
    *("seed/other-generator", "logprobs/after-temperature"),
)


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_rounding_is_to_the_nearest(value: float) -> None:
    [rounded] = to_bfloat16(np.array([value], np.float32))
    assert abs(float(rounded) - value) <= 2**-8 * abs(value) + 1e-38
    [half] = to_float16(np.array([value], np.float32))
    assert abs(value) > 65504 or abs(float(half) - value) <= 2**-11 * abs(value) + 2**-25


@pytest.fixture(
    scope="module",
    params=["bfloat16", pytest.param("float16", marks=pytest.mark.lane)],
)
def rounded_target(request: pytest.FixtureRequest, tiny_model: Bundle) -> Iterator[Target]:
    app = conforming_app(in_sixteen_bits(tiny_model, request.param))
    with target(app, tiny_model) as served:
        measured = with_measured_tolerance(served)
        assert measured.oracle is not None and measured.oracle.tolerance > TOLERANCE
        yield measured


def assert_no_finding(served: Target, check: Check) -> None:
    result = run_one(served, check)
    assert result.verdict not in (Verdict.FAIL, Verdict.NON_STRICT, Verdict.ERROR), result


@pytest.mark.parametrize("check", FAST_CHECKS, ids=lambda c: c.id)
def test_rounding_is_not_a_finding(rounded_target: Target, check: Check) -> None:
    assert_no_finding(rounded_target, check)


@pytest.mark.lane
@pytest.mark.parametrize("check", OTHER_CHECKS, ids=lambda c: c.id)
def test_rounding_is_not_a_finding_of_any_depth(rounded_target: Target, check: Check) -> None:
    assert_no_finding(rounded_target, check)


@pytest.mark.parametrize("name", ["prompt-scoring-matches-generation", "output-logprobs-unchanged"])
def test_rounding_is_not_a_finding_without_weights(rounded_target: Target, name: str) -> None:
    [check] = [c for c in TEXT_CHECKS if c.id == f"echo/{name}"]
    unknown = replace(rounded_target, oracle=None, cache={}, locks={})
    assert run_one(unknown, check).verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)


MUTANTS = {mutant.id: mutant for mutant in numeric_mutants()}


@pytest.mark.parametrize("name", CLEAR_MUTANTS)
def test_mutant_is_detected(tiny_model: Bundle, name: str) -> None:
    measured = power_against(MUTANTS[name], tiny_model)
    assert measured.is_detected and (measured.tolerance or 0) > TOLERANCE, measured


@pytest.mark.lane
@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda m: m.id)
def test_power_is_as_documented(tiny_model: Bundle, mutant: Mutant) -> None:
    measured, documented = power_against(mutant, tiny_model), read()[mutant.id]
    assert measured.is_detected == documented.is_detected, measured
