"""The vision encoder against LLaVA in transformers."""

from pathlib import Path

import numpy as np
import pytest

from reference.model import checkpoint, llama, vision
from reference.model.checkpoint import Checkpoint
from tests.goldens import VISION_MODELS

RTOL = 1e-5  # relative to the largest value


@pytest.fixture(params=VISION_MODELS, ids=lambda path: path.name)
def directory(request: pytest.FixtureRequest) -> Path:
    return request.param


def features(vlm: Checkpoint, pixels_3SS: np.ndarray) -> np.ndarray:
    assert vlm.weights.vision is not None and vlm.config.vision is not None
    return vision.features(vlm.weights.vision, vlm.config.vision, pixels_3SS)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= RTOL * np.abs(expected).max()


def test_features_match_transformers(directory: Path) -> None:
    vlm, golden = checkpoint.load(directory), np.load(directory / "golden.npz")
    for pixels, expected in zip(golden["pixels"], golden["features"], strict=True):
        assert_close(features(vlm, pixels), expected)


def test_logits_match_transformers(directory: Path) -> None:
    vlm, golden = checkpoint.load(directory), np.load(directory / "golden.npz")
    tokens, weights, config = golden["tokens"], vlm.weights, vlm.config
    assert config.vision is not None
    x_TD = llama.embedding(weights, config, tokens)
    image_embeddings = np.concatenate([features(vlm, pixels) for pixels in golden["pixels"]])
    x_TD[tokens == config.vision.image_token_id] = image_embeddings
    hidden = llama.hidden_states(weights, config, tokens, None, x_TD)
    assert_close(llama.logits(weights, hidden), golden["logits"])


def test_image_of_the_wrong_size_is_refused(directory: Path) -> None:
    vlm = checkpoint.load(directory)
    assert vlm.config.vision is not None
    size = vlm.config.vision.image_size + 1
    with pytest.raises(ValueError, match="image: "):
        features(vlm, np.zeros((3, size, size), np.float32))
