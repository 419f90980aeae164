"""A whole model: the logits of prompts that are prefilled in chunks."""

from functools import partial, wraps
from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.requests import scattered_ids
from conformance.parity.harness.tolerance import assert_near
from conformance.parity.harness.twins import PagedSequence, twins
from reference.model import llama as spec

CHUNK_SIZE = 8  # a chunk of a single token has no padding, as in decoding
MAX_PROMPT = 40  # tokens: a few pages

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
    x_TD = spec.hidden_states(pair.weights, pair.config, tokens)
    assert_near(np.concatenate(logits), spec.logits(pair.weights, x_TD))
    coverage.counts["logits"] += len(tokens)


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


PROPERTIES = (
    of_kind("grouped"),
    of_kind("each"),
    of_kind("tied"),
    of_kind("biases"),
    of_kind("window"),
)
