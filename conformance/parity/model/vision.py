"""Image inputs: the vision tower, the projector, and image embeddings in a prompt."""

from functools import partial, wraps
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.tolerance import assert_near
from conformance.parity.harness.twins import (
    PAGE,
    VISION,
    Twins,
    apply,
    empty_pages,
    twins,
)
from jax_backend.model.llama import ImageEmbeddings, Llama, TokenBlocks
from jax_backend.model.vision import Vision
from jax_backend.serving import prefill
from reference.model import llama as spec_llama
from reference.model import vision as spec

TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 14,
    "patch_size": 4,
}
# Feature selections and activations. 14 is not a multiple of 4, so the last pixels are cropped.
KINDS: dict[str, dict[str, Any]] = {
    "default": {"vision_config": TOWER},
    "full": {
        "vision_config": TOWER | {"hidden_act": "gelu"},
        "vision_feature_select_strategy": "full",
        "vision_feature_layer": -1,
    },
    "several": {
        "vision_config": TOWER | {"num_attention_heads": 4},
        "vision_feature_layer": [0, -1, 1],
        "multimodal_projector_bias": False,
        "projector_hidden_act": "quick_gelu",
    },
}


def states(module: Vision, pixels: jax.Array) -> list[jax.Array]:
    return module.tower(pixels)


def features(module: Vision, pixels: jax.Array) -> jax.Array:
    return module.features(pixels)


def images(kind: str, example: dict[str, Any], coverage: Coverage) -> None:
    """The hidden states of every layer and the embeddings of each image of a batch are right."""
    pair = twins(example["seed"], KINDS[kind], VISION)
    config, weights = pair.config.vision, pair.weights.vision
    assert config is not None and weights is not None and pair.model.vision is not None
    rng = np.random.default_rng(example["pixels"])
    pixels = rng.normal(0, example["contrast"], (example["count"], 3, 14, 14)).astype(np.float32)
    towers = apply(states, pair.model.vision, pixels)
    rows = apply(features, pair.model.vision, pixels)
    for i, image in enumerate(pixels):
        for actual, expected in zip(towers, spec.tower(weights, config, image), strict=True):
            assert_near(np.asarray(actual[i]), expected)
        assert_near(np.asarray(rows[i]), spec.features(weights, config, image))
    coverage.counts["images"] += len(pixels)


def embeddings_in_prompt(example: dict[str, Any], coverage: Coverage) -> None:
    """Image embeddings replace those of image tokens, and later tokens attend to them."""
    pair = twins(example["seed"], KINDS["default"], VISION)
    rng = np.random.default_rng(example["pixels"])
    rows = rng.normal(size=(9, pair.config.hidden_size)).astype(np.float32)
    source, count = example["source"], min(example["count"], 9 - example["source"])
    target = min(example["target"], PAGE - count)
    tokens = rng.integers(0, pair.config.vocab_size, PAGE)
    x_TD = spec_llama.embedding(pair.weights, pair.config, tokens)
    x_TD[target : target + count] = rows[source : source + count]
    expected = spec_llama.hidden_states(pair.weights, pair.config, tokens, None, x_TD)
    images = prefill.no_images(PAGE, pair.config.hidden_size, np.dtype(np.float32))
    images = prefill.merge_embeddings(images, rows, *map(np.int32, (source, target, count)))
    assert_near(run_model(pair, tokens, images), expected)
    coverage.counts["image tokens"] += count


def run_model(pair: Twins, tokens: np.ndarray, images: ImageEmbeddings) -> np.ndarray:
    """Return the output of the last norm for a prompt with an image, (T, D)."""
    i = np.arange(len(tokens), dtype=np.int32)[None]
    layers, page_table = empty_pages(pair.model, 1)
    row = tokens[None].astype(np.int32)
    return np.asarray(apply(hidden, pair.model, row, i, page_table, layers, images)[0])


def hidden(
    model: Llama, tokens: Any, positions: Any, page_table: Any, layers: Any, images: ImageEmbeddings
) -> jax.Array:
    block = TokenBlocks(tokens, positions, positions >= 0, page_table, images)
    (x_BTD,), _ = model.hidden_states([block], layers)
    return x_BTD


SEEDS = st.integers(0, 2)
NOISE = st.integers(0, 2**32 - 1)
BATCHES = st.fixed_dictionaries(
    {
        "seed": SEEDS,
        "pixels": NOISE,
        "count": st.integers(1, 3),
        "contrast": st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    }
)
SPANS = st.fixed_dictionaries(
    {
        "seed": SEEDS,
        "pixels": NOISE,
        "source": st.integers(0, 8),
        "target": st.integers(0, PAGE - 1),
        "count": st.integers(1, 9),
    }
)


def of_kind(kind: str) -> Property:
    return Property(f"vision/{kind}", BATCHES, wraps(images)(partial(images, kind)))


PROPERTIES = (
    *map(of_kind, KINDS),
    Property("vision/embeddings_in_prompt", SPANS, embeddings_in_prompt),
)
