"""What a model sees: the tower, the projector, and where the rows of an image are read."""

from functools import partial, wraps
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.tolerance import near
from conformance.parity.harness.twins import (
    PAGE,
    SEEING,
    Twins,
    apply,
    pages_of,
    twins,
)
from jax_backend.model.llama import Given, Llama
from jax_backend.model.vision import Vision
from jax_backend.serving import step
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
# Selections and activations; 14 is no multiple of 4, so the last pixels are not seen.
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


def images(kind: str, example: dict[str, Any], tally: Tally) -> None:
    """The states after every layer, and the rows of each image of a batch, are right."""
    both = twins(example["seed"], KINDS[kind], SEEING)
    config, weights = both.config.vision, both.weights.vision
    assert config is not None and weights is not None and both.model.vision is not None
    rng = np.random.default_rng(example["pixels"])
    pixels = rng.normal(0, example["contrast"], (example["count"], 3, 14, 14)).astype(np.float32)
    towers = apply(states, both.model.vision, pixels)
    rows = apply(features, both.model.vision, pixels)
    for i, image in enumerate(pixels):
        for found, expected in zip(towers, spec.tower(weights, config, image), strict=True):
            near(np.asarray(found[i]), expected)
        near(np.asarray(rows[i]), spec.features(weights, config, image))
    tally.counts["images"] += len(pixels)


def placed(example: dict[str, Any], tally: Tally) -> None:
    """Rows of an image are read in the places of tokens, and what comes after them sees them."""
    both = twins(example["seed"], KINDS["default"], SEEING)
    rng = np.random.default_rng(example["pixels"])
    rows = rng.normal(size=(9, both.config.hidden_size)).astype(np.float32)
    source, count = example["source"], min(example["count"], 9 - example["source"])
    target = min(example["target"], PAGE - count)
    tokens = rng.integers(0, both.config.vocab_size, PAGE)
    x_TD = spec_llama.embedding(both.weights, both.config, tokens)
    x_TD[target : target + count] = rows[source : source + count]
    expected = spec_llama.hidden_states(both.weights, both.config, tokens, None, x_TD)
    given = step.nothing_given(PAGE, both.config.hidden_size, np.dtype(np.float32))
    given = step.give(given, rows, *map(np.int32, (source, target, count)))
    near(read(both, tokens, given), expected)
    tally.counts["rows"] += count


def read(both: Twins, tokens: np.ndarray, given: Given) -> np.ndarray:
    """(T, D): what the last norm makes of a text in which an image stands."""
    i = np.arange(len(tokens), dtype=np.int32)[None]
    layers, table = pages_of(both.model, 1)
    row = tokens[None].astype(np.int32)
    return np.asarray(apply(hidden, both.model, row, i, table, layers, given)[0])


def hidden(
    model: Llama, tokens: Any, positions: Any, table: Any, layers: Any, given: Given
) -> jax.Array:
    written = positions >= 0
    return model.hidden_states(tokens, positions, written, table, layers, given)[0]


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
PLACES = st.fixed_dictionaries(
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


PROPERTIES = (*map(of_kind, KINDS), Property("vision/placed", PLACES, placed))
