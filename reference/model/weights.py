"""Tensors of the text model: names, shapes, and the structure they form.

Linear layers keep the layout of the files, (out, in).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from reference.model import vision_weights
from reference.model.config import LlamaConfig
from reference.model.vision_weights import VisionWeights

EMBEDDING, LM_HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """Parameters of y = W x + b, or of y = W x."""

    weight: Float[np.ndarray, "out in"]
    bias: Float[np.ndarray, "out"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One transformer block. Q is N·H, the size of all query heads; KV is K·H."""

    input_layernorm: Float[np.ndarray, "D"]
    q_proj: Linear  # (Q, D)
    k_proj: Linear  # (KV, D)
    v_proj: Linear  # (KV, D)
    o_proj: Linear  # (D, Q)
    post_attention_layernorm: Float[np.ndarray, "D"]
    gate_proj: Linear  # (F, D)
    up_proj: Linear  # (F, D)
    down_proj: Linear  # (D, F)


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """Weights of a model, all in one dtype. With tied embeddings, `lm_head` is `embedding`.

    vision: None for a text-only model.
    """

    embedding: Float[np.ndarray, "V D"]
    layers: tuple[Layer, ...]
    norm: Float[np.ndarray, "D"]
    lm_head: Float[np.ndarray, "V D"]
    vision: VisionWeights | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.embedding.dtype

    @classmethod
    def from_tensors(cls, config: LlamaConfig, tensors: Mapping[str, np.ndarray]) -> "Weights":
        """Build the structure from the tensors of `expected_tensors`, all in one dtype."""
        prefixes = (f"model.layers.{index}" for index in range(config.num_hidden_layers))
        vision = config.vision
        return cls(
            embedding=tensors[EMBEDDING],
            layers=tuple(_layer(tensors, prefix) for prefix in prefixes),
            norm=tensors["model.norm.weight"],
            lm_head=tensors[EMBEDDING if config.tie_word_embeddings else LM_HEAD],
            vision=None if vision is None else VisionWeights.from_tensors(vision, tensors),
        )


def expected_tensors(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of every tensor. With tied embeddings, `lm_head.weight` is absent.

    A generator, because a malicious config may claim more layers than fit in memory as names.
    """
    D, F, V = config.hidden_size, config.intermediate_size, config.vocab_size
    Q, KV = (
        config.num_attention_heads * config.head_dim,
        config.num_key_value_heads * config.head_dim,
    )
    linears = {
        "self_attn.q_proj": ((Q, D), config.attention_bias),
        "self_attn.k_proj": ((KV, D), config.attention_bias),
        "self_attn.v_proj": ((KV, D), config.attention_bias),
        "self_attn.o_proj": ((D, Q), config.attention_bias),
        "mlp.gate_proj": ((F, D), config.mlp_bias),
        "mlp.up_proj": ((F, D), config.mlp_bias),
        "mlp.down_proj": ((D, F), config.mlp_bias),
    }
    yield EMBEDDING, (V, D)
    yield "model.norm.weight", (D,)
    if not config.tie_word_embeddings:
        yield LM_HEAD, (V, D)
    for prefix in (f"model.layers.{i}" for i in range(config.num_hidden_layers)):
        yield f"{prefix}.input_layernorm.weight", (D,)
        yield f"{prefix}.post_attention_layernorm.weight", (D,)
        for name, (shape, bias) in linears.items():
            yield f"{prefix}.{name}.weight", shape
            if bias:
                yield f"{prefix}.{name}.bias", shape[:1]
    if config.vision is not None:
        yield from vision_weights.expected_tensors(config.vision, D)


def _layer(tensors: Mapping[str, np.ndarray], prefix: str) -> Layer:
    def linear(name: str) -> Linear:
        name = f"{prefix}.{name}"
        return Linear(weight=tensors[f"{name}.weight"], bias=tensors.get(f"{name}.bias"))

    return Layer(
        input_layernorm=tensors[f"{prefix}.input_layernorm.weight"],
        q_proj=linear("self_attn.q_proj"),
        k_proj=linear("self_attn.k_proj"),
        v_proj=linear("self_attn.v_proj"),
        o_proj=linear("self_attn.o_proj"),
        post_attention_layernorm=tensors[f"{prefix}.post_attention_layernorm.weight"],
        gate_proj=linear("mlp.gate_proj"),
        up_proj=linear("mlp.up_proj"),
        down_proj=linear("mlp.down_proj"),
    )
