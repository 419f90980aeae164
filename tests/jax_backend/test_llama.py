"""The model, part by part and whole, against the reference and against transformers' logits."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jax_backend import llama, step
from jax_backend.checkpoint import load
from reference import checkpoint
from reference import llama as spec
from reference.config import ConfigError
from tests.goldens import GOLDENS

DIRECTORIES = sorted(path.parent for path in GOLDENS.glob("*/golden.npz"))
SIZE, CHUNK = 32, 64
# Of a value near 1: as many roundings as the longest sum here has terms, in either order.
TOLERANCE = 64 * 2**-23
FEW = settings(max_examples=30)

values = st.floats(-4, 4, width=32, allow_subnormal=False)


def rows(width: int, count: int = 3) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (count, width), elements=values)


class Paged:
    """A model, and the pages of one text that is read from the first token on."""

    def __init__(self, model: llama.Llama) -> None:
        config = model.config
        self.model, self.position = model, 0
        count = -(-config.max_position_embeddings // SIZE)
        self.layers = step.empty_pages(model, count, SIZE)
        self.table = np.arange(1, count + 1, dtype=np.int32)[None]
        graph, self.state = nnx.split(model)

        def run(state: nnx.State, tokens: Any, positions: Any, table: Any, layers: Any) -> Any:
            merged = nnx.merge(graph, state)
            everything = jnp.ones_like(tokens, jnp.bool_)
            x_BTD, layers = merged.hidden_states(tokens, positions, everything, table, layers)
            return merged.logits(x_BTD[0]), layers

        self.run = jax.jit(run)

    def read(self, tokens: np.ndarray) -> np.ndarray:
        """The logits of tokens that come next."""
        positions = np.arange(self.position, self.position + len(tokens), dtype=np.int32)
        logits, self.layers = self.run(
            self.state, tokens.astype(np.int32)[None], positions[None], self.table, self.layers
        )
        self.position += len(tokens)
        return np.asarray(logits)


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
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


@FEW
@given(rows(12), hnp.arrays(np.float32, 12, elements=values), st.sampled_from([1e-6, 1e-5]))
def test_rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> None:
    found = jax.jit(llama.rms_norm, static_argnums=2)(x, weight, eps)
    np.testing.assert_allclose(found, spec.rms_norm(x, weight, eps), TOLERANCE, TOLERANCE)


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_the_rotation_is_the_references_to_the_bit(directory: Path) -> None:
    config = checkpoint.read_config(directory)
    cos, sin = np.moveaxis(llama.rotation(config), 1, 0)
    frequencies = spec.rope_frequencies(config)
    expected = spec.rotation(frequencies, 0, config.max_position_embeddings, np.float32)
    np.testing.assert_array_equal(cos, expected[0])
    np.testing.assert_array_equal(sin, expected[1])


@FEW
@given(rows(8 * 2), st.integers(0, 4000))
def test_rotate(x: np.ndarray, start: int) -> None:
    config = checkpoint.read_config(GOLDENS / "gqa")
    x_TNH = x.reshape(3, -1, config.head_dim)
    cos, sin = spec.rotation(spec.rope_frequencies(config), start, 3, np.float32)
    found = jax.jit(llama.rotate)(x_TNH[None], cos[None], sin[None])[0]
    np.testing.assert_allclose(found, spec.rotate(x_TNH, cos, sin), TOLERANCE, TOLERANCE)


@FEW
@given(rows(16))
def test_the_feed_forward_part(x: np.ndarray) -> None:
    weights = checkpoint.load(GOLDENS / "gqa").weights.layers[1]
    found = llama.mlp(jnp.asarray(x), load(GOLDENS / "gqa").layers[1])
    np.testing.assert_allclose(found, spec.mlp(x, weights), TOLERANCE, 8 * TOLERANCE)


@pytest.mark.parametrize("count", [1, 2, 5])
@FEW
@given(data=st.data())
def test_product(count: int, data: st.DataObject) -> None:
    x, w = data.draw(rows(7, count)), data.draw(rows(7, 11))
    found = jax.jit(llama.product)(x, w)
    np.testing.assert_allclose(found, x.astype(np.float64) @ w.T, TOLERANCE, 64 * TOLERANCE)


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
