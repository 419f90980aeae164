"""The model against transformers' logits, and how it comes onto the device. That it is the
reference's, part by part and whole, is in test_parity.py.
"""

from functools import partial
from pathlib import Path
from typing import Any

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
from tests.goldens import GOLDENS, TEXT_ONLY

CHUNK, Paged = 64, partial(twins.Paged, page_size=32)


@pytest.mark.parametrize("directory", TEXT_ONLY, ids=lambda path: path.name)
def test_logits_are_those_of_transformers(directory: Path) -> None:
    golden = np.load(directory / "golden.npz")
    tokens, expected = golden["tokens"], golden["logits"]
    text = Paged(load(directory))
    found = [text.read(tokens[i : i + CHUNK]) for i in range(0, len(tokens), CHUNK)]
    found = np.concatenate(found)[golden["rows"]]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)


def test_token_by_token_is_as_in_one_piece() -> None:
    model = load(GOLDENS / "gqa")
    tokens = np.arange(20) * 7 % 48
    whole, one_by_one = Paged(model).read(tokens), Paged(model)
    single = np.concatenate([one_by_one.read(tokens[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(single, whole, rtol=0, atol=1e-5 * np.ptp(whole))


def test_bfloat16_is_float32_to_its_precision() -> None:
    """Eight bits of precision, through two layers and a head: a few hundredths of the spread."""
    golden = np.load(GOLDENS / "gqa" / "golden.npz")
    tokens = golden["tokens"][:CHUNK]
    half = Paged(load(GOLDENS / "gqa", jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half.layers)} == {jnp.dtype(jnp.bfloat16)}
    found, expected = half.read(tokens), Paged(load(GOLDENS / "gqa")).read(tokens)
    assert found.dtype == np.float32
    assert (found != found.astype(jnp.bfloat16).astype(np.float32)).any(), "rounded on the way"
    error = np.abs(found - expected).max() / np.ptp(expected)
    assert 1e-5 < error < 0.04


@pytest.mark.parametrize("directory", TEXT_ONLY, ids=lambda path: path.name)
def test_the_rotation_is_the_references_to_the_bit(directory: Path) -> None:
    config = checkpoint.read_config(directory)
    cos, sin = np.moveaxis(llama.rotation(config), 1, 0)
    frequencies = spec.rope_frequencies(config)
    expected = spec.rotation(frequencies, 0, config.max_position_embeddings, np.float32)
    np.testing.assert_array_equal(cos, expected[0])
    np.testing.assert_array_equal(sin, expected[1])


def test_a_checkpoint_goes_to_the_device_whole() -> None:
    model, weights = load(GOLDENS / "biases"), checkpoint.load(GOLDENS / "biases").weights
    np.testing.assert_array_equal(model.embed_tokens[...], weights.embedding)
    theirs, mine = weights.layers[1], model.layers[1]
    for name in "weight", "bias":
        parts = [getattr(getattr(theirs, part), name) for part in ("q_proj", "k_proj", "v_proj")]
        np.testing.assert_array_equal(getattr(mine.qkv_proj, name)[...], np.concatenate(parts))
    up = mine.gate_up_proj.weight[...][len(theirs.gate_proj.weight) :]
    np.testing.assert_array_equal(up, theirs.up_proj.weight)
    assert load(GOLDENS / "mqa_tied").lm_head is None
    with pytest.raises(ValueError, match="dtype"):
        load(GOLDENS / "gqa", np.float16)


def test_a_shorter_context_may_be_asked_for() -> None:
    assert load(GOLDENS / "gqa", context=100).rotation[...].shape[0] == 100
    with pytest.raises(ConfigError, match="context"):
        load(GOLDENS / "gqa", context=10**6)


def test_the_host_holds_a_few_tensors_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor is let go when the parts of its layer are together."""
    import weakref

    alive: list[Any] = []
    held: list[int] = []
    tensors = checkpoint.tensors

    def watched(directory: Any, dtype: Any = None) -> Any:
        for name, tensor in tensors(directory, dtype):
            alive.append(weakref.ref(tensor))
            yield name, tensor
            del tensor
            held.append(sum(ref() is not None for ref in alive))

    monkeypatch.setattr(checkpoint, "tensors", watched)
    load(GOLDENS / "gqa", jnp.bfloat16)
    assert max(held) <= 3 < len(alive)
