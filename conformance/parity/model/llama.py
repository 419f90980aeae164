"""A whole model: the logits of prompts that are prefilled in chunks."""

from dataclasses import replace
from functools import partial, wraps
from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.requests import scattered_ids
from conformance.parity.harness.tolerance import (
    LOGIT_TOLERANCE,
    ROUNDED_TOLERANCE,
    assert_near,
    rounds_activations,
)
from conformance.parity.harness.twins import PagedSequence, Twins, twins
from reference.model import llama as spec
from reference.model.config import LlamaConfig
from reference.model.weights import Weights

CHUNK_SIZE = 8  # a chunk of a single token has no padding, as in decoding
MAX_PROMPT = 40  # tokens: a few pages
PERTURBATION, PERTURBATIONS = 2.0**-20, 4  # of embeddings: a few roundings

MISTRAL = ["MistralForCausalLM"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
# Vocabulary sizes that are multiples of nothing, and every kind of KV head sharing.
KINDS: dict[str, dict[str, Any]] = {
    "grouped": {"vocab_size": 37},
    "each": {"vocab_size": 101, "num_key_value_heads": 4, "rope_parameters": LLAMA3},
    "tied": {"vocab_size": 37, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "biases": {
        "vocab_size": 101,
        "num_attention_heads": 6,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "window": {"vocab_size": 53, "architectures": MISTRAL, "sliding_window": 7, "head_dim": 10},
}


def compressed(number: str, format: str, inputs: dict[str, Any] | None, **weights: Any) -> Any:
    """Return a `quantization_config` of compressed-tensors."""
    group = {
        "targets": ["Linear"],
        "weights": {"num_bits": 8, "type": number, "strategy": "channel"} | weights,
        "input_activations": inputs and {"num_bits": 8, "type": number} | inputs,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": format,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


TOKEN = {"strategy": "token", "dynamic": True}
STATIC = {"strategy": "tensor", "dynamic": False}
KV_CACHE = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False}
# Quantized models: weights only, inputs of each kind, an fp8 KV cache.
QUANTIZED: dict[str, dict[str, Any]] = {
    "int8_weights": compressed("int", "pack-quantized", None),
    "int8": compressed("int", "int-quantized", TOKEN),
    "fp8": compressed("float", "float-quantized", STATIC, strategy="tensor")
    | {"kv_cache_scheme": KV_CACHE},
    "fp8_blocks": {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "weight_block_size": [8, 5],
        "modules_to_not_convert": ["model.layers.1.mlp.down_proj"],
    },
}
KINDS |= {name: {"quantization_config": config} for name, config in QUANTIZED.items()}


def prompts(kind: str, example: dict[str, Any], coverage: Coverage) -> None:
    """The logits of every prompt token are right, however the prompt is cut into chunks."""
    pair = twins(example["seed"], KINDS[kind])
    tokens = np.array(example["prompt"]) % pair.config.vocab_size
    sequence, position, sizes = PagedSequence(pair.model), 0, example["cuts"]
    logits: list[np.ndarray] = []
    while position < len(tokens):
        chunk = tokens[position : position + sizes[len(logits) % len(sizes)]]
        logits.append(sequence.prefill(chunk, 1 if len(chunk) == 1 else CHUNK_SIZE))
        position += len(chunk)
    check_logits(pair, tokens, np.concatenate(logits), coverage)
    coverage.counts["logits"] += len(tokens)


def check_logits(pair: Twins, tokens: np.ndarray, actual: np.ndarray, coverage: Coverage) -> None:
    """Check the logits of a prompt. An activation that is nearly halfway between two numbers may be
    rounded to either one: then the reference, too, gives other logits for embeddings that differ by
    a rounding error, and those of such a token need only be close.
    """
    expected = reference_logits(pair.weights, pair.config, tokens)
    rng, embedding = np.random.default_rng(0), pair.weights.embedding
    borderline_T = np.zeros(len(tokens), np.bool_)
    for _ in range(PERTURBATIONS if rounds_activations(pair.config) else 0):
        noise = 1 + rng.uniform(-PERTURBATION, PERTURBATION, embedding.shape)
        weights = replace(pair.weights, embedding=embedding * noise.astype(np.float32))
        perturbed = reference_logits(weights, pair.config, tokens)
        borderline_T |= np.abs(perturbed - expected).max(axis=1) > LOGIT_TOLERANCE
    assert_near(actual[~borderline_T], expected[~borderline_T])
    assert_near(actual[borderline_T], expected[borderline_T], ROUNDED_TOLERANCE)
    flipped_T = np.abs(actual - expected).max(axis=1) > LOGIT_TOLERANCE
    coverage.add_decisions(int(borderline_T.sum()), int(flipped_T.sum()))


def reference_logits(weights: Weights, config: LlamaConfig, tokens: np.ndarray) -> np.ndarray:
    return spec.logits(weights, spec.hidden_states(weights, config, tokens))


MAX_VOCAB_SIZE = 101  # ids are reduced modulo a smaller vocabulary size
IDS = st.integers(0, MAX_VOCAB_SIZE - 1)

PROMPTS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 3),
        "prompt": st.one_of(
            st.lists(IDS, min_size=1, max_size=MAX_PROMPT),
            st.builds(scattered_ids, st.just(MAX_VOCAB_SIZE), st.integers(1, MAX_PROMPT), IDS),
        ),
        "cuts": st.lists(st.integers(1, CHUNK_SIZE), min_size=1, max_size=4),
    }
)


def of_kind(kind: str) -> Property:
    return Property(f"llama/{kind}", PROMPTS, wraps(prompts)(partial(prompts, kind)))


PROPERTIES = tuple(of_kind(kind) for kind in KINDS)
