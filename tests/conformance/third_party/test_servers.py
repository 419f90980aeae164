"""The random checkpoint for third-party servers, and the commands that start them."""

from pathlib import Path

import numpy as np
import pytest

from conformance.fixtures.prompts import PROMPTS
from conformance.oracle.reference_oracle import ReferenceOracle
from conformance.third_party import compare, random_checkpoint
from reference.bundle import load_bundle


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> ReferenceOracle:
    out = tmp_path_factory.mktemp("random")
    random_checkpoint.write(out, seed=1)
    return ReferenceOracle(load_bundle(out))


def test_random_model_has_flat_distributions(oracle: ReferenceOracle) -> None:
    maxima = [np.exp(oracle.logprobs(prompt)).max() for prompt in PROMPTS]
    assert 0.05 < np.median(maxima) < 0.5


def test_random_model_has_ties_and_negative_steps(oracle: ReferenceOracle) -> None:
    logits = [oracle.logits(prompt) for prompt in PROMPTS]
    assert any(np.sort(x)[-1] == np.sort(x)[-2] for x in logits)
    assert {bool(x.max() > 0) for x in logits} == {True, False}


def test_seed_determines_the_model(oracle: ReferenceOracle, tmp_path: Path) -> None:
    for seed, same in (1, True), (2, False):
        random_checkpoint.write(tmp_path, seed)
        other = ReferenceOracle(load_bundle(tmp_path)).logits("The")
        assert np.array_equal(other, oracle.logits("The")) is same


@pytest.mark.parametrize("name", compare.SERVERS)
def test_command_has_checkpoint_and_port(name: str, tmp_path: Path) -> None:
    command = compare.SERVERS[name].command(name, tmp_path / "model", 8123, tmp_path)
    assert Path(command[0]).exists()
    assert {str(tmp_path / "model"), "8123"} <= set(command)


def test_server_that_ends_early_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="log"),
        compare.running(["false"], 1, tmp_path / "log"),
    ):
        pass
