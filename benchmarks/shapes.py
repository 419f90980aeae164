"""Models of real shapes with random weights: speed does not depend on the weights."""

import math
from itertools import count, product
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jax_backend.model.llama import Llama, rotation
from reference.model.config import LlamaConfig
from reference.model.weights import EMBEDDING, expected_tensors
from reference.tokenizer.vocabulary import Vocabulary

SHAPES = {
    "tiny": {  # of which only the host's work is measured
        "vocab_size": 1536,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 512,
    },
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
    "7B": {  # Llama-2
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "intermediate_size": 11008,
        "max_position_embeddings": 4096,
    },
}


def config_json(shape: str) -> dict[str, Any]:
    """Return a config.json: untied embeddings, vocabulary 32,000 unless the shape has another."""
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


def weights_per_token(config: LlamaConfig) -> int:
    """Return the number of weights read to decode one token: all except the embeddings."""
    shapes = expected_tensors(config)
    return sum(math.prod(shape) for name, shape in shapes if name != EMBEDDING)


def random_model(config: LlamaConfig, dtype: jnp.dtype) -> Llama:
    """Return a model with normal weights, scaled to keep activations near 1."""
    graph, state = nnx.split(Llama(config, dtype))
    normal = jax.jit(jax.random.normal, static_argnums=(1, 2))
    keys = count()

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) == 1:
            return jnp.ones(leaf.shape, leaf.dtype)
        scale = jnp.asarray(leaf.shape[-1] ** -0.5, leaf.dtype)
        return normal(jax.random.key(next(keys)), leaf.shape, leaf.dtype) * scale

    model = nnx.merge(graph, jax.tree.map(fill, state))
    model.rotation[...] = jnp.asarray(rotation(config))
    return model


def vocabulary(size: int) -> Vocabulary:
    """Return a vocabulary of `size` tokens: end-of-sequence, every byte, the punctuation of JSON,
    and words: plain, after a space and after a quotation mark.
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
    return Vocabulary(tuple(pieces[:size]), disallowed_token_ids=frozenset({0}))
