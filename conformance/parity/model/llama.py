"""A whole model: the logits of prompts that are read in chunks."""

from functools import partial, wraps
from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.requests import scattered
from conformance.parity.harness.tolerance import near
from conformance.parity.harness.twins import Paged, twins
from reference.model import llama as spec

WIDTH = 8  # of a chunk; a single token is read as in decoding
LONGEST = 40  # tokens: some pages

MISTRAL = ["MistralForCausalLM"]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
# Vocabularies that are a multiple of nothing, and heads that share keys in every way.
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


def prompts(kind: str, example: dict[str, Any], tally: Tally) -> None:
    """The logits of every token of a prompt are right, however it is cut into chunks."""
    both = twins(example["seed"], KINDS[kind])
    tokens = np.array(example["prompt"]) % both.config.vocab_size
    text, at, cuts = Paged(both.model), 0, example["cuts"]
    found: list[np.ndarray] = []
    while at < len(tokens):
        chunk = tokens[at : at + cuts[len(found) % len(cuts)]]
        found.append(text.read(chunk, 1 if len(chunk) == 1 else WIDTH))
        at += len(chunk)
    x_TD = spec.hidden_states(both.weights, both.config, tokens)
    near(np.concatenate(found), spec.logits(both.weights, x_TD))
    tally.counts["logits"] += len(tokens)


MOST = 101  # ids, of which a smaller vocabulary takes the rest of a division
IDS = st.integers(0, MOST - 1)

PROMPTS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 3),
        "prompt": st.one_of(
            st.lists(IDS, min_size=1, max_size=LONGEST),
            st.builds(scattered, st.just(MOST), st.integers(1, LONGEST), IDS),
        ),
        "cuts": st.lists(st.integers(1, WIDTH), min_size=1, max_size=4),
    }
)


def of_kind(kind: str) -> Property:
    return Property(f"model/{kind}", PROMPTS, wraps(prompts)(partial(prompts, kind)))


PROPERTIES = (
    of_kind("grouped"),
    of_kind("each"),
    of_kind("tied"),
    of_kind("biases"),
    of_kind("window"),
)
