"""Training of the embedded models: text generator, tokenizer, training, export."""

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_backend.training.text import train as training
from jax_backend.training.text.__main__ import encoder
from jax_backend.training.text.corpus import KINDS, document, documents
from jax_backend.training.text.export import export
from jax_backend.training.text.model import Shape, forward, initial
from jax_backend.training.text.random_source import RandomSource
from jax_backend.training.text.tokenizer import train_tokenizer
from jax_backend.training.text.train import Recipe, train
from reference.model import checkpoint, llama
from reference.tokenizer.loader import load_tokenizer

SMALL = Shape(
    vocab_size=420, model=16, ffn=24, heads=4, kv_heads=2, head_dim=4, layers=2, context=32
)


@pytest.fixture(autouse=True)
def lax() -> Iterator[None]:
    """Allow promotions, on which the third-party optimizer relies."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def tokenizer() -> bytes:
    return train_tokenizer((d.text for d in islice(documents(3), 200)), SMALL.vocab_size)


@given(st.integers(0, 2**31), st.integers(0, 10**6))
def test_document_depends_only_on_seed_and_index(seed: int, index: int) -> None:
    generated = document(seed, index)
    assert generated == document(seed, index)
    assert generated.bits > 0 and generated.kind in KINDS
    assert not re.search(
        r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]|[{}]|  ", re.sub(r"\{.*\}", "", generated.text)
    )


@given(st.integers(0, 10**6))
def test_records_are_json(index: int) -> None:
    generated = document(5, index)
    if generated.kind == "record":
        prompt, record = generated.text.split("\n")
        assert prompt.startswith("Write a JSON record of") and "name" in json.loads(record)


def test_bits_are_minus_log2_of_the_choices() -> None:
    rng = RandomSource(0)
    rng.pick("abcd")
    assert rng.bits == 2
    rng.sample("abcd", 2)
    assert rng.bits == pytest.approx(2 + math.log2(4 * 3))
    rng.bits = 0
    assert rng.bits == 0 and rng.happens(0.25) in (True, False)
    assert rng.bits in (pytest.approx(2), pytest.approx(-math.log2(0.75)))


def test_bits_include_the_choice_of_kind() -> None:
    """A fifth of 4,000 documents are lists, and the bits of each include the choice of its kind."""
    generated = list(islice(documents(7), 4000))
    share = sum(d.kind == "list" for d in generated) / len(generated)
    assert abs(share - 1 / 5) < 5 * math.sqrt(0.2 * 0.8 / 4000)
    assert min(d.bits for d in generated if d.kind == "list") > math.log2(5)
    assert min(d.bits for d in generated if d.kind == "story") > math.log2(5 / 2)


@pytest.mark.lane
def test_resumed_training_gives_the_same_weights(
    tokenizer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(shape=SMALL, steps=6, batch=2, length=17, save_every=0.0)
    encode = encoder(tokenizer)
    whole = train(recipe, encode, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def save_then_interrupt(work: Path, recipe: Recipe, state: tuple) -> None:
        save(work, recipe, state)
        if state[0] == 3:
            raise Interrupted

    save = training.save_state
    monkeypatch.setattr(training, "save_state", save_then_interrupt)
    with pytest.raises(Interrupted):
        train(recipe, encode, tmp_path / "interrupted")
    monkeypatch.setattr(training, "save_state", save)
    resumed = train(recipe, encode, tmp_path / "interrupted")
    for name, tensor in whole.items():
        np.testing.assert_array_equal(tensor, resumed[name])


@pytest.mark.lane
def test_exported_model_gives_the_same_logits_in_the_reference(
    tokenizer: bytes, tmp_path: Path
) -> None:
    weights = initial(SMALL, seed=1)
    export(tmp_path, SMALL, weights, tokenizer)
    model = checkpoint.load(tmp_path)
    assert load_tokenizer(tmp_path).vocab_size == SMALL.vocab_size == model.config.vocab_size
    assert model.eos_token_ids == (2,)
    rounded = {k: np.asarray(v.astype("bfloat16").astype("float32")) for k, v in weights.items()}
    tokens = np.arange(3, 23)
    actual = llama.logits(model.weights, llama.hidden_states(model.weights, model.config, tokens))
    expected = np.asarray(forward(rounded, tokens[None], SMALL))[0]
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.ptp(expected))
