"""Models of real shapes with random weights: speed does not depend on what they say."""

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_backend.llama import Llama, rotation
from reference.config import LlamaConfig
from reference.vocabulary import Vocabulary

SHAPES = {
    "134M": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "intermediate_size": 2048,
        "max_position_embeddings": 1024,
    },
    "1.1B": {
        "hidden_size": 2048,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "intermediate_size": 5632,
        "max_position_embeddings": 2048,
    },
}


def config_json(shape: str) -> dict[str, Any]:
    """Vocabulary 32,000, untied embeddings."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 32000,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
    } | SHAPES[shape]


def config(shape: str) -> LlamaConfig:
    return LlamaConfig.from_json(config_json(shape))


def random_model(config: LlamaConfig, dtype: jnp.dtype) -> Llama:
    """Normal weights of a scale that keeps activations near 1."""
    graph, state = nnx.split(Llama(config, dtype))
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) == 1:
            return jnp.ones(leaf.shape, leaf.dtype)
        values = rng.standard_normal(leaf.shape, np.float32) / np.sqrt(leaf.shape[-1])
        return jnp.asarray(values, leaf.dtype)

    model = nnx.merge(graph, jax.tree.map(fill, state))
    model.rotation[...] = jnp.asarray(rotation(config))
    return model


def vocabulary(size: int) -> Vocabulary:
    """So many tokens: end-of-sequence, every byte, and words in the proportions of a real one: with
    a space before them, without, and with punctuation that JSON is made of.
    """
    letters = "etaoinshrdlucmfw"
    words = ("".join(w) for n in (2, 3, 4) for w in product(letters, repeat=n))
    marks = [
        '{"',
        '":',
        '","',
        '"}',
        '":"',
        "},",
        "[{",
        "]}",
        ": ",
        ", ",
        '": "',
        '", "',
        "  ",
        "\n",
    ]
    pieces = [b"", *(bytes([b]) for b in range(256)), *(m.encode() for m in marks)]
    for word in words:
        pieces += [word.encode(), f" {word}".encode(), f'"{word}'.encode()]
        if len(pieces) >= size:
            break
    return Vocabulary(tuple(pieces[:size]), never=frozenset({0}))
