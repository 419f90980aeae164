"""The model: its logits against transformers, and the loading of checkpoints.

test_parity.py compares it with the reference, part by part and as a whole.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.parity.harness import twins
from jax_backend.model import llama
from jax_backend.model.checkpoint import load
from reference.model import checkpoint
from reference.model import llama as spec
from reference.model.config import ConfigError
from tests.goldens import GOLDENS, TEXT_MODELS

CHUNK_SIZE = 64
PagedSequence = partial(twins.PagedSequence, page_size=32)


@pytest.mark.parametrize("directory", TEXT_MODELS, ids=lambda path: path.name)
def test_logits_match_transformers(directory: Path) -> None:
    golden = np.load(directory / "golden.npz")
    tokens, expected = golden["tokens"], golden["logits"]
    sequence = PagedSequence(load(directory))
    chunks = [
        sequence.prefill(tokens[i : i + CHUNK_SIZE]) for i in range(0, len(tokens), CHUNK_SIZE)
    ]
    logits = np.concatenate(chunks)[golden["rows"]]
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= 1e-5 * np.ptp(expected)


def test_decoding_token_by_token_equals_one_prefill() -> None:
    model = load(GOLDENS / "gqa")
    tokens = np.arange(20) * 7 % 48
    whole, sequence = PagedSequence(model).prefill(tokens), PagedSequence(model)
    single = np.concatenate([sequence.prefill(tokens[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(single, whole, rtol=0, atol=1e-5 * np.ptp(whole))


def test_bfloat16_is_close_to_float32() -> None:
    """Eight bits of precision, through two layers and a head: a few percent of the range."""
    golden = np.load(GOLDENS / "gqa" / "golden.npz")
    tokens = golden["tokens"][:CHUNK_SIZE]
    half = PagedSequence(load(GOLDENS / "gqa", jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half.layers)} == {jnp.dtype(jnp.bfloat16)}
    logits = half.prefill(tokens)
    expected = PagedSequence(load(GOLDENS / "gqa")).prefill(tokens)
    assert logits.dtype == np.float32
    rounded = logits.astype(jnp.bfloat16).astype(np.float32)
    assert (logits != rounded).any(), "logits are computed in bfloat16"
    error = np.abs(logits - expected).max() / np.ptp(expected)
    assert 1e-5 < error < 0.04


@pytest.mark.parametrize("directory", TEXT_MODELS, ids=lambda path: path.name)
def test_rotation_is_bitwise_identical_to_the_reference(directory: Path) -> None:
    config = checkpoint.read_config(directory)
    cos, sin = np.moveaxis(llama.rotation(config), 1, 0)
    frequencies = spec.rope_frequencies(config)
    expected = spec.rotation(frequencies, 0, config.max_position_embeddings, np.float32)
    np.testing.assert_array_equal(cos, expected[0])
    np.testing.assert_array_equal(sin, expected[1])


def test_checkpoint_is_loaded_completely() -> None:
    model, weights = load(GOLDENS / "biases"), checkpoint.load(GOLDENS / "biases").weights
    np.testing.assert_array_equal(model.embed_tokens[...], weights.embedding)
    expected, layer = weights.layers[1], model.layers[1]
    for name in "weight", "bias":
        parts = [getattr(getattr(expected, part), name) for part in ("q_proj", "k_proj", "v_proj")]
        np.testing.assert_array_equal(getattr(layer.qkv_proj, name)[...], np.concatenate(parts))
    up = layer.gate_up_proj.weight[...][len(expected.gate_proj.weight) :]
    np.testing.assert_array_equal(up, expected.up_proj.weight)
    assert load(GOLDENS / "mqa_tied").lm_head is None
    with pytest.raises(ValueError, match="dtype"):
        load(GOLDENS / "gqa", np.float16)


def test_context_can_be_shortened() -> None:
    assert load(GOLDENS / "gqa", context=100).rotation[...].shape[0] == 100
    with pytest.raises(ConfigError, match="context"):
        load(GOLDENS / "gqa", context=10**6)
