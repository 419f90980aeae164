"""The JavaScript twin of the steps agrees with the reference, and its dialects with the suite's."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.oracle import dialects
from reference import sampler, threefry
from reference.explain import Explanation, explain
from reference.logits import Logits
from reference.params import CompletionParams
from reference.sampler import SamplingHistory

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")

SCRIPT = Path(__file__).parent / "twin.mjs"
CASES = 2400
# Relative difference of float32 functions (exp, log, log1p) between the two languages.
TOLERANCE = 1e-5
ENGINES = {
    "vLLM": dialects.chain(top_p=dialects.top_p_by_rank),
    "llama.cpp": dialects.chain(
        (*dialects.STEP_NAMES[:4], "shift", *dialects.TRUNCATION, "temperature"),
        top_p=dialects.top_p_by_rank,
        top_k=dialects.top_k_by_rank,
    ),
    "transformers": dialects.chain(
        (*dialects.STEP_NAMES[:5], "top_k", "top_p", "min_p"), top_p=dialects.top_p_by_rank
    ),
}

Json = dict[str, Any]


def random_params(rng: np.random.Generator) -> CompletionParams:
    """Draw parameters: each is at its default, at an end of its range, or inside."""
    values: Json = {
        "temperature": [0, 1e-40, 0.01, 0.5, 0.9, 1.5, 2],
        "min_p": [0.01, 0.05, 0.25, 0.5, 1],
        "top_k": [1, 2, 3, 5, 40, 2000],
        "top_p": [0, 0.1, 0.5, 0.9, 0.999],
        "repetition_penalty": [0.01, 0.7, 1.3, 5],
        "frequency_penalty": [-2, -0.3, 0.7, 2],
        "presence_penalty": [-2, -0.1, 0.6, 2],
        "response_format": [{"type": "json_object"}],
    }
    chosen = {name: rng.choice(list(options)) for name, options in values.items()}
    plain = {k: v if isinstance(v, dict) else v.item() for k, v in chosen.items()}
    return CompletionParams(**{k: v for k, v in plain.items() if rng.random() < 0.5})


def random_logits(rng: np.random.Generator) -> Logits:
    """Draw logits: of few tokens with many ties, or of a vocabulary of a model's size."""
    if rng.random() < 0.01:
        return (rng.standard_normal(1536) * 4).astype(np.float32)
    size = int(rng.integers(1, 24))
    if rng.random() < 0.5:
        return rng.choice(np.float32([-3, -1.5, 0, 0.5, 2, 2.25, 7]), size).astype(np.float32)
    return (rng.standard_normal(size) * rng.choice([0.1, 2, 30])).astype(np.float32)


@cache
def cases() -> list[tuple[Json, Explanation, SamplingHistory]]:
    rng = np.random.default_rng(0)
    result = []
    for i in range(CASES):
        logits, params = random_logits(rng), random_params(rng)
        size = len(logits)
        allowed = rng.random(size) < 0.8
        allowed[rng.integers(size)] = True
        counts = rng.integers(0, 4, size) * (rng.random(size) < 0.3)
        present = (rng.random(size) < 0.3) | (counts > 0)
        history = SamplingHistory(params=params, allowed=allowed, present=present, counts=counts)
        seed, choice = int(rng.integers(-(2**63), 2**63)) + (i % 2) * 2**63, i % 4
        noise = threefry.noise(seed, choice, i, size)
        case = {
            "logits": logits.tolist(),
            "history": {
                "params": {f: getattr(params, f) for f in vars(params) if f != "data"},
                "allowed": allowed.tolist(),
                "present": present.tolist(),
                "counts": counts.tolist(),
            },
            "seed": str(seed),
            "choice": choice,
            "position": i,
            "count": 1 + i % 6,
        }
        result.append((case, explain(logits, history, noise), history))
    return result


@cache
def results() -> list[Json]:
    """Run the twin on all cases."""
    run = subprocess.run(
        [str(NODE), str(SCRIPT)],
        input=json.dumps([case for case, *_ in cases()]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    received: list[Json] = json.loads(run.stdout)
    return received


def as_logits(values: list[float | None]) -> np.ndarray:
    return np.array([-np.inf if v is None else v for v in values])


def agree(actual: Any, expected: Any) -> bool:
    return np.allclose(actual, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_noise_is_that_of_the_seed() -> None:
    for (_, explained, _), result in zip(cases(), results(), strict=True):
        assert agree(result["noise"], explained.noise)


def test_stages_agree() -> None:
    for (case, explained, _), result in zip(cases(), results(), strict=True):
        for stage, actual in zip(explained.stages, result["stages"], strict=True):
            x = as_logits(actual["logits"])
            assert np.array_equal(np.isfinite(x), np.isfinite(stage.logits)), case
            assert agree(x[np.isfinite(x)], stage.logits[np.isfinite(x)]), case
            assert agree(actual["p"], stage.probabilities)
            assert actual["name"] == stage.name and actual["kept"] == stage.kept
            assert actual["removed"] == len(stage.removed)
            assert agree(actual["removedMass"], stage.removed_mass)
            assert actual["changed"] == stage.changed or agree(
                stage.probabilities, explained.stages[0].probabilities
            )


def test_draws_agree() -> None:
    for (_, explained, _), result in zip(cases(), results(), strict=True):
        assert result["token"] == explained.token
        assert result["runnerUp"] == explained.runner_up


def test_rows_and_reasons_agree() -> None:
    kinds = set()
    for (case, explained, _), result in zip(cases(), results(), strict=True):
        assert set(result["rows"]) == set(explained.top_tokens(case["count"])), case
        for token, actual in enumerate(result["removals"]):
            removal = explained.removal(token)
            assert (removal is None) == (actual is None)
            if removal is not None:
                step, reason = removal
                kinds.add(reason.text)
                assert (actual["step"], actual["text"]) == (step, reason.text)
                assert actual["numbers"].keys() == reason.numbers.keys()
                for name, number in reason.numbers.items():
                    assert agree(actual["numbers"][name], number)
    assert len(kinds) == 6  # every condition occurs


def test_dialects_are_those_of_the_suite() -> None:
    """The same chain for every case; and for some cases another result than the specification's."""
    names = list(results()[0]["dialects"])
    assert len(names) >= 18
    for dialect in dialects.dialects_named(names):
        differ = 0
        for (case, explained, history), result in zip(cases(), results(), strict=True):
            logits = explained.stages[0].logits
            expected = dialect.final(logits, history)
            check_final(result["dialects"][dialect.name], expected, case)
            differ += not np.array_equal(expected, sampler.final_logits(logits, history))
        assert differ > 1, dialect.name


@pytest.mark.parametrize("name", ENGINES)
def test_engines_are_their_dialects_together(name: str) -> None:
    for (case, explained, history), result in zip(cases(), results(), strict=True):
        expected = ENGINES[name](explained.stages[0].logits, history)
        check_final(result["engines"][name], expected, case)


def check_final(actual: list[float | None], expected: np.ndarray, case: Json) -> None:
    x = as_logits(actual)
    assert np.array_equal(np.isfinite(x), np.isfinite(expected)), case
    assert agree(x[np.isfinite(x)], expected[np.isfinite(x)]), case


def test_engines_of_the_twin_are_tested() -> None:
    assert results()[0]["engines"].keys() == ENGINES.keys()
