"""What a model sees, against transformers' Llava."""

from pathlib import Path

import numpy as np
import pytest

from reference.model import checkpoint, llama, vision
from reference.model.checkpoint import Checkpoint
from tests.goldens import THAT_SEE

NEAR = 1e-5  # of the largest value


@pytest.fixture(params=THAT_SEE, ids=lambda path: path.name)
def directory(request: pytest.FixtureRequest) -> Path:
    return request.param


def features(found: Checkpoint, pixels_3SS: np.ndarray) -> np.ndarray:
    assert found.weights.vision is not None and found.config.vision is not None
    return vision.features(found.weights.vision, found.config.vision, pixels_3SS)


def near(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= NEAR * np.abs(expected).max()


def test_features_are_those_of_transformers(directory: Path) -> None:
    found, values = checkpoint.load(directory), np.load(directory / "golden.npz")
    for pixels, expected in zip(values["pixels"], values["features"], strict=True):
        near(features(found, pixels), expected)


def test_logits_are_those_of_transformers(directory: Path) -> None:
    found, values = checkpoint.load(directory), np.load(directory / "golden.npz")
    tokens, weights, config = values["tokens"], found.weights, found.config
    assert config.vision is not None
    x_TD = llama.embedding(weights, config, tokens)
    rows = np.concatenate([features(found, pixels) for pixels in values["pixels"]])
    x_TD[tokens == config.vision.image_token_id] = rows
    hidden = llama.hidden_states(weights, config, tokens, None, x_TD)
    near(llama.logits(weights, hidden), values["logits"])


def test_an_image_of_another_size_is_refused(directory: Path) -> None:
    found = checkpoint.load(directory)
    assert found.config.vision is not None
    size = found.config.vision.image_size + 1
    with pytest.raises(ValueError, match="image: "):
        features(found, np.zeros((3, size, size), np.float32))
