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
from reference.model.quantization import InputRounding, dequantize, unpack
from reference.model.quantization_scheme import STATIC, Scheme
from reference.model.vision_weights import VisionWeights

EMBEDDING, LM_HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """Parameters of y = W x + b, or of y = W x. input_rounding: of x, if it is rounded."""

    weight: Float[np.ndarray, "out in"]
    bias: Float[np.ndarray, "out"] | None = None
    input_rounding: InputRounding | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One transformer block. Q is N·H, the size of all query heads; KV is K·H.

    k_scale, v_scale: of an fp8 KV cache.
    """

    input_layernorm: Float[np.ndarray, "D"]
    q_proj: Linear  # (Q, D)
    k_proj: Linear  # (KV, D)
    v_proj: Linear  # (KV, D)
    o_proj: Linear  # (D, Q)
    post_attention_layernorm: Float[np.ndarray, "D"]
    gate_proj: Linear  # (F, D)
    up_proj: Linear  # (F, D)
    down_proj: Linear  # (D, F)
    k_scale: float = 1.0
    v_scale: float = 1.0


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
        """Build the structure from the tensors of `expected_tensors`, all in one dtype except
        quantized weights.
        """
        prefixes = (f"model.layers.{index}" for index in range(config.num_hidden_layers))
        vision = config.vision
        return cls(
            embedding=tensors[EMBEDDING],
            layers=tuple(_layer(config, tensors, prefix) for prefix in prefixes),
            norm=tensors["model.norm.weight"],
            lm_head=tensors[EMBEDDING if config.tie_word_embeddings else LM_HEAD],
            vision=None if vision is None else VisionWeights.from_tensors(vision, tensors),
        )


def expected_tensors(config: LlamaConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of every tensor. With tied embeddings, `lm_head.weight` is absent.

    A generator, because a malicious config may claim more layers than fit in memory as names.
    """
    D, V, quantization = config.hidden_size, config.vocab_size, config.quantization
    yield EMBEDDING, (V, D)
    yield "model.norm.weight", (D,)
    if not config.tie_word_embeddings:
        yield LM_HEAD, (V, D)
    for prefix in (f"model.layers.{i}" for i in range(config.num_hidden_layers)):
        yield f"{prefix}.input_layernorm.weight", (D,)
        yield f"{prefix}.post_attention_layernorm.weight", (D,)
        for name, (shape, bias) in linear_layers(config).items():
            module = f"{prefix}.{name}"
            if quantization is not None and quantization.applies(module):
                yield from quantization.scheme.tensors(module, shape)
            else:
                yield f"{module}.weight", shape
            if bias:
                yield f"{module}.bias", shape[:1]
        if quantization is not None and quantization.kv_scales:
            yield f"{prefix}.self_attn.k_scale", (1,)
            yield f"{prefix}.self_attn.v_scale", (1,)
    if config.vision is not None:
        yield from vision_weights.expected_tensors(config.vision, D)


def linear_layers(config: LlamaConfig) -> dict[str, tuple[tuple[int, int], bool]]:
    """Return the linear layers of a block, by name: (out, in), and whether there is a bias."""
    D, F = config.hidden_size, config.intermediate_size
    Q, KV = (
        config.num_attention_heads * config.head_dim,
        config.num_key_value_heads * config.head_dim,
    )
    return {
        "self_attn.q_proj": ((Q, D), config.attention_bias),
        "self_attn.k_proj": ((KV, D), config.attention_bias),
        "self_attn.v_proj": ((KV, D), config.attention_bias),
        "self_attn.o_proj": ((D, Q), config.attention_bias),
        "mlp.gate_proj": ((F, D), config.mlp_bias),
        "mlp.up_proj": ((F, D), config.mlp_bias),
        "mlp.down_proj": ((D, F), config.mlp_bias),
    }


def _layer(config: LlamaConfig, tensors: Mapping[str, np.ndarray], prefix: str) -> Layer:
    def linear(name: str) -> Linear:
        module = f"{prefix}.{name}"
        bias = tensors.get(f"{module}.bias")
        if config.quantization is not None and config.quantization.applies(module):
            return _quantized(config.quantization.scheme, tensors, module, bias)
        return Linear(weight=tensors[f"{module}.weight"], bias=bias)

    def kv_scale(name: str) -> float:
        scale = tensors.get(f"{prefix}.self_attn.{name}")
        return 1.0 if scale is None else float(scale.item())

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
        k_scale=kv_scale("k_scale"),
        v_scale=kv_scale("v_scale"),
    )


def _quantized(
    scheme: Scheme, tensors: Mapping[str, np.ndarray], module: str, bias: np.ndarray | None
) -> Linear:
    """Return a linear layer with its weights dequantized, in the dtype of their scales."""
    if scheme.packed:
        _, size = tensors[f"{module}.weight_shape"].tolist()
        q_OI = unpack(tensors[f"{module}.weight_packed"], size)
    else:
        q_OI = tensors[f"{module}.weight"]
    scales = tensors[f"{module}.weight_scale"]
    rounding = None
    if scheme.inputs is not None:
        scale = tensors[f"{module}.input_scale"].item() if scheme.inputs == STATIC else None
        rounding = InputRounding(number=scheme.number, scale=scale, columns=scheme.columns)
    weight = dequantize(q_OI, scales, scheme.rows, scheme.columns)
    return Linear(weight=weight, bias=bias, input_rounding=rounding)
