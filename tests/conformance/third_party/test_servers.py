"""The checkpoint that servers of others are given, and how they are started."""

from pathlib import Path

import numpy as np
import pytest

from conformance.oracle.sampling import PROMPTS
from conformance.oracle.truth import Truth
from conformance.third_party import compare, random_checkpoint
from reference.bundle import load_bundle


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    out = tmp_path_factory.mktemp("random")
    random_checkpoint.write(out, seed=1)
    return Truth(load_bundle(out))


def test_the_random_model_is_in_doubt(truth: Truth) -> None:
    likeliest = [np.exp(truth.logprobs(prompt)).max() for prompt in PROMPTS]
    assert 0.05 < np.median(likeliest) < 0.5


def test_it_has_ties_and_steps_without_a_logit_above_zero(truth: Truth) -> None:
    logits = [truth.logits(prompt) for prompt in PROMPTS]
    assert any(np.sort(x)[-1] == np.sort(x)[-2] for x in logits)
    assert {bool(x.max() > 0) for x in logits} == {True, False}


def test_a_seed_is_one_model(truth: Truth, tmp_path: Path) -> None:
    for seed, same in (1, True), (2, False):
        random_checkpoint.write(tmp_path, seed)
        other = Truth(load_bundle(tmp_path)).logits("The")
        assert np.array_equal(other, truth.logits("The")) is same


@pytest.mark.parametrize("name", compare.SERVERS)
def test_a_server_is_started_on_a_checkpoint_and_a_port(name: str, tmp_path: Path) -> None:
    command = compare.SERVERS[name].command(name, tmp_path / "model", 8123, tmp_path)
    assert Path(command[0]).exists()
    assert {str(tmp_path / "model"), "8123"} <= set(command)


def test_a_server_that_ends_early_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="log"),
        compare.running(["false"], 1, tmp_path / "log"),
    ):
        pass
