"""The conformance checkpoint: the same on every machine, exact in 16 bits, and with a result of
every check.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from conformance.__main__ import main
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import VISION
from conformance.harness.registry import all_checks
from conformance.harness.runner import run
from conformance.oracle.reference_oracle import ReferenceOracle
from conformance.verdicts import Depth, Verdict
from reference.bundle import EMBEDDED, Bundle, load_bundle
from reference.tokenizer.hf_json import JsonTokenizer
from reference.tokenizer.loader import load_tokenizer
from tests.conformance.conftest import target
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.sixteen_bits import to_bfloat16

DIGEST = "50a002a1d6ee26ab7720a9b8e71fff4de979067762ba09e367e263a5849a3c94"
MAX_BYTES = 10**6


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("checkpoint")
    assert main(["checkpoint", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def model(directory: Path) -> Bundle:
    return load_bundle(directory)


def test_weights_are_always_the_same(directory: Path) -> None:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(directory / "model.safetensors").items()):
        digest.update(name.encode() + tensor.tobytes())
    assert digest.hexdigest() == DIGEST


def test_weights_are_exact_in_sixteen_bits(directory: Path) -> None:
    for tensor in load_file(directory / "model.safetensors").values():
        exact = tensor.astype(np.float32)
        assert tensor.dtype == np.float16 and np.array_equal(to_bfloat16(exact), exact)


def test_size(directory: Path) -> None:
    assert sum(file.stat().st_size for file in directory.iterdir()) < MAX_BYTES


def test_distributions_are_flat_with_ties_and_negative_steps(model: Bundle) -> None:
    oracle = ReferenceOracle(model)
    logits = [oracle.logits(prompt) for prompt in PROMPTS]
    assert 0.05 < np.median([np.exp(oracle.logprobs(prompt)).max() for prompt in PROMPTS]) < 0.5
    assert any(np.sort(x)[-1] == np.sort(x)[-2] for x in logits)
    assert {bool(x.max() > 0) for x in logits} == {True, False}


TOKENIZER = load_tokenizer(EMBEDDED / "text")
TEXTS = st.text() | st.lists(st.sampled_from(["the ", " a", "dog", "\n", "é", "▁", "  "])).map(
    "".join
)


@pytest.fixture(scope="module")
def json_tokenizer(directory: Path) -> JsonTokenizer:
    config = (directory / "tokenizer_config.json").read_text()
    return JsonTokenizer((directory / "tokenizer.json").read_text("utf-8"), json.loads(config))


@given(text=TEXTS)
def test_tokenizers_agree(json_tokenizer: JsonTokenizer, text: str) -> None:
    assert list(json_tokenizer.encode(text)) == list(TOKENIZER.encode(text))


@pytest.mark.lane
def test_truth_checks_pass(model: Bundle) -> None:
    checks = [c for c in all_checks() if c.depth is Depth.TRUTH and VISION not in c.needs]
    with target(conforming_app(model), model) as served:
        results = run(served, checks, 2)
    assert all(r.verdict is Verdict.PASS for r in results), [
        r for r in results if r.verdict is not Verdict.PASS
    ]


@pytest.mark.lane
def test_checks_of_any_depth_pass(model: Bundle) -> None:
    key = "a secret"
    checks = [c for c in all_checks() if VISION not in c.needs]
    with target(conforming_app(model, keys=[key]), model, (key,)) as served:
        results = run(served, checks, 2)
    assert all(r.verdict is Verdict.PASS for r in results), [
        r for r in results if r.verdict is not Verdict.PASS
    ]


def test_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert main(["checkpoint", str(tmp_path), "--format", "gguf"]) == 2
    assert "--format gguf needs the package gguf" in capsys.readouterr().err


def test_unwritable_directory_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "/dev/null/a"]) == 2
    assert "DIR /dev/null/a" in capsys.readouterr().err
