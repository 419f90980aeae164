"""The preflight: other weights are refused, and a tolerance that a wrong server cannot widen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp

from conformance.harness.registry import all_checks
from conformance.harness.runner import run
from conformance.oracle.preflight import (
    SAFETY,
    Agreement,
    DifferentWeights,
    error_between,
    measure_agreement,
    sixteen_bit_error,
)
from conformance.oracle.reference_oracle import TOLERANCE, ReferenceOracle
from conformance.oracle.reference_text import reference_text
from conformance.verdicts import Verdict
from reference.bundle import Bundle, load_bundle
from tests.conformance import tiny_models
from tests.conformance.conftest import Serve, target, target_at
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import change_default, drop_fields
from tests.conformance.mutations.responses import each_choice, mutate_json, refuse_field
from tests.conformance.mutations.sixteen_bits import ROUNDINGS, in_sixteen_bits


def measure(app: ASGIApp, model: Bundle, tolerance: float | None = None) -> Agreement:
    with target(app, model) as served:
        return measure_agreement(served.server("preflight"), ReferenceOracle(model), tolerance)


def test_float32_server_has_the_least_tolerance(tiny_model: Bundle) -> None:
    agreement = measure(conforming_app(tiny_model), tiny_model)
    assert agreement.deviation is not None and agreement.deviation < 1e-5
    assert agreement.tolerance == TOLERANCE and not agreement.stripped_names
    assert "32-bit" in str(agreement) and "0.001" in str(agreement)


@pytest.mark.parametrize("dtype", ROUNDINGS)
def test_sixteen_bits_are_measured(tiny_model: Bundle, dtype: str) -> None:
    agreement = measure(conforming_app(in_sixteen_bits(tiny_model, dtype)), tiny_model)
    assert agreement.deviation is not None and TOLERANCE < agreement.deviation < agreement.limit
    assert agreement.tolerance == min(SAFETY * agreement.deviation, agreement.limit)
    assert "16-bit" in str(agreement)


@pytest.mark.parametrize("seed", [1, 2])
def test_weights_of_another_seed_are_refused(tiny_model: Bundle, tmp_path: Path, seed: int) -> None:
    other = load_bundle(tiny_models.write(tmp_path, seed))
    with pytest.raises(DifferentWeights, match="greedy texts agree"):
        measure(conforming_app(tiny_model), other)


def test_slightly_other_weights_are_refused(tiny_model: Bundle) -> None:
    """Double one norm: the greedy texts and the rows change by more than 16 bits explain."""
    weights = tiny_model.checkpoint.weights
    changed = replace(weights, norm=weights.norm * np.float32(1.5))
    other = replace(tiny_model, checkpoint=replace(tiny_model.checkpoint, weights=changed))
    agreement = measure(conforming_app(other), tiny_model)
    assert agreement.deviation is not None and agreement.deviation > agreement.limit
    assert agreement.tolerance == agreement.limit, "the greedy texts agree, the rows do not"


def scale_logprobs(app: ASGIApp, factor: float) -> ASGIApp:
    """Multiply each log-probability, as a temperature does."""

    def scale(choice: Json) -> None:
        columns: Any = choice.get("logprobs")
        if columns:
            columns["token_logprobs"] = [v and v * factor for v in columns["token_logprobs"]]
            columns["top_logprobs"] = [
                top and {name: v * factor for name, v in top.items()}
                for top in columns["top_logprobs"]
            ]

    return mutate_json(app, whole=each_choice(scale))


@pytest.mark.parametrize("factor", [0.5, 2])
def test_wrong_values_do_not_widen_the_tolerance(tiny_model: Bundle, factor: float) -> None:
    agreement = measure(scale_logprobs(conforming_app(tiny_model), factor), tiny_model)
    explained = sixteen_bit_error(ReferenceOracle(tiny_model))
    assert agreement.tolerance == agreement.limit == SAFETY * explained
    assert "greedy texts" in str(agreement)


def test_ignored_temperature_does_not_widen_the_tolerance(tiny_model: Bundle) -> None:
    app = drop_fields(conforming_app(tiny_model), "temperature")
    assert measure(app, tiny_model).tolerance == TOLERANCE


def test_server_without_logprobs_is_compared_by_texts(tiny_model: Bundle, tmp_path: Path) -> None:
    app = drop_fields(conforming_app(tiny_model), "logprobs")
    agreement = measure(app, tiny_model)
    assert agreement.deviation is None and agreement.tolerance == agreement.limit
    other = load_bundle(tiny_models.write(tmp_path, 3))
    with pytest.raises(DifferentWeights, match="0 of . greedy"):
        measure(app, other)


@pytest.mark.parametrize("factor", [2, 3])
def test_several_choices_by_default_are_compared(tiny_model: Bundle, factor: int) -> None:
    agreement = measure(change_default(conforming_app(tiny_model), "n", factor), tiny_model)
    assert agreement.compared and agreement.tolerance == agreement.limit  # by texts


def test_unreadable_responses_are_not_called_other_weights(tiny_model: Bundle) -> None:
    app = mutate_json(conforming_app(tiny_model), whole=lambda completion: {"ok": True})
    agreement = measure(app, tiny_model)
    assert not agreement.compared and "not compared" in str(agreement)


def test_given_tolerance_is_used(tiny_model: Bundle) -> None:
    rounded = conforming_app(in_sixteen_bits(tiny_model))
    assert measure(rounded, tiny_model, 0.5).tolerance == 0.5
    strict = measure(rounded, tiny_model, 1e-4)
    assert strict.tolerance == 1e-4 and strict.deviation and strict.deviation > 1e-4


def strip_names(app: ASGIApp) -> ASGIApp:
    """Remove the leading space of each token string; of equal strings one is left."""

    def strip(choice: Json) -> None:
        columns: Any = choice.get("logprobs")
        if columns:
            columns["tokens"] = [name.lstrip(" ") for name in columns["tokens"]]
            columns["top_logprobs"] = [
                top and {name.lstrip(" "): v for name, v in reversed(top.items())}
                for top in columns["top_logprobs"]
            ]

    return mutate_json(drop_fields(app, "return_tokens_as_token_ids"), whole=each_choice(strip))


def test_stripped_names_are_identified_by_value(tiny_model: Bundle, serve_app: Serve) -> None:
    with target_at(serve_app(strip_names(conforming_app(tiny_model))), tiny_model) as served:
        server, plain = served.server("names"), ReferenceOracle(tiny_model)
        agreement = measure_agreement(server, plain)
        assert agreement.stripped_names and agreement.tolerance == TOLERANCE
        oracle = ReferenceOracle(tiny_model, stripped_names=True)
        for seed in range(6):
            fields = {"prompt": "The", "max_tokens": 8, "logprobs": 1, "temperature": 2}
            choice = server.complete(**fields, seed=seed).choice
            ids = oracle.token_ids(choice, "The")
            assert reference_text(oracle, "The", ids, choice.finish_reason) == choice.text


CHANCE = "text/incomplete-character-replaced"
BROAD = (
    *("sampler/draws-match-reference", "text/invalid-bytes-replaced", "text/detokenization"),
    *(CHANCE, "logprobs/values-match-reference"),
    *("repetition_penalty/greedy-matches-reference", "presence_penalty/output-only"),
)


@pytest.mark.lane
def test_server_without_seeds_and_spaces_has_results(tiny_model: Bundle, serve_app: Serve) -> None:
    app = strip_names(refuse_field(tiny_model, "seed", 400, neutral=True))
    with target_at(serve_app(app), tiny_model) as served:
        oracle = ReferenceOracle(tiny_model, stripped_names=True)
        known = replace(served, oracle=oracle)
        results = run(known, [c for c in all_checks() if c.id in BROAD])
    assert len(results) == len(BROAD)
    # Without seeds, whether a text is cut off within a character is left to chance.
    results = [r for r in results if r.verdict is not Verdict.INCONCLUSIVE or r.id != CHANCE]
    assert {r.id: r.summary for r in results if r.verdict is not Verdict.PASS} == {}


@given(st.floats(-20, -1e-6), st.floats(-1, 1))
def test_measured_error_covers_the_difference(exact: float, error: float) -> None:
    """The tolerance that a difference requires is one with which the difference is near."""
    value = min(exact + error, 0.0)
    needed = error_between(exact, value)
    oracle = ReferenceOracle.__new__(ReferenceOracle)
    oracle.tolerance = max(needed * (1 + 1e-9), TOLERANCE)
    assert oracle.is_near(value, exact)
    oracle.tolerance = max(needed * 0.9, TOLERANCE)
    assert needed <= TOLERANCE / 0.9 or not oracle.is_near(value, exact)
