"""The architecture of a model, read from a Hugging Face `config.json` and validated strictly.

Llama (Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023) and Mistral
(Jiang et al., "Mistral 7B", 2023) share one architecture: Mistral adds a sliding window, and has
different defaults. LLaVA adds a vision encoder (`reference.model.vision_config`) to one of them. A
field that would change the logits is implemented or rejected, never ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reference.model.config_fields import (
    ConfigError,
    as_flag,
    as_positive,
    as_size,
    as_token_id,
    as_token_ids,
)
from reference.model.quantization_config import read_quantization
from reference.model.quantization_scheme import FP8, Quantization
from reference.model.rope_config import RopeConfig
from reference.model.vision_config import LLAVA, VisionConfig, is_llava

FAMILIES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral"}
AUTO = "auto"

SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
FLAGS = ("attention_bias", "mlp_bias", "tie_word_embeddings")

# Values of absent fields: the defaults of LlamaConfig and MistralConfig in transformers.
DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {
        "intermediate_size": 11008,
        "num_key_value_heads": None,
        "max_position_embeddings": 2048,
        "sliding_window": None,
    },
    "mistral": {
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
    },
}

# Fields of related architectures that would change the logits. The value given, or null, has no
# effect; any other is rejected.
NEUTRAL_VALUES: dict[str, Any] = {
    "compression_config": None,
    "quantization": None,
    "per_layer_config": None,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "use_qk_norm": False,
    "qk_layernorm": False,
    "no_rope_layers": None,
    "no_rope_layer_interval": None,
    "rope_interleaved": False,
    "attention_chunk_size": None,
    "num_experts": None,
    "num_local_experts": None,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "logit_scale": 1.0,
    "logits_scaling": 1.0,
    "embedding_multiplier": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": None,
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """The architecture and sizes of a Llama or Mistral model.

    Sizes and their letters: vocab_size V, hidden_size D, intermediate_size F, num_hidden_layers L,
    num_attention_heads N, num_key_value_heads K, head_dim H. N is a multiple of K (K = N is
    multi-head attention, K = 1 multi-query, others grouped-query), H is even, and N·H may differ
    from D.

    max_position_embeddings: maximum context length as stored; RoPE scaling does not change it.
    sliding_window: number of positions that a token attends to, its own included; None: all.
    eos_token_ids: zero or more. quantization: the quantized linear layers, if any. kv_dtype: FP8
    for a KV cache of fp8 numbers; None: it has the dtype of the model. vision: the vision encoder;
    None for a text-only model.

    Raises ConfigError, naming the field, for a value out of range.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope: RopeConfig = field(default_factory=RopeConfig)
    sliding_window: int | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    quantization: Quantization | None = None
    kv_dtype: str | None = None
    vision: VisionConfig | None = None

    def __post_init__(self) -> None:
        for name in SIZES:
            as_size(name, getattr(self, name))
        if self.sliding_window is not None:
            as_size("sliding_window", self.sliding_window)
        as_positive("rms_norm_eps", self.rms_norm_eps)
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                "num_attention_heads: must be a multiple of num_key_value_heads "
                f"{self.num_key_value_heads}, got {self.num_attention_heads}"
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim: must be even for RoPE, got {self.head_dim}")
        if self.vision is not None and self.vision.image_token_id >= self.vocab_size:
            raise ConfigError(
                f"image_token_index: must be 0 … {self.vocab_size - 1}, "
                f"got {self.vision.image_token_id}"
            )

    def with_context(self, context: int | None) -> "LlamaConfig":
        """Return a config with another maximum context length; None: the stored one.

        Linear RoPE scaling allows up to `factor` times the stored length, because the config does
        not state whether that is the length before or after scaling. Raises ConfigError above the
        limit.
        """
        if context is None:
            return self
        factor = self.rope.factor if self.rope.kind == "linear" else None
        max_context = int(self.max_position_embeddings * (factor or 1))
        if not 0 < context <= max_context:
            raise ConfigError(f"context: must be 1 … {max_context} for this model, got {context}")
        return replace(self, max_position_embeddings=context)

    def with_kv_dtype(self, kv_dtype: str) -> "LlamaConfig":
        """Return a config with another dtype of the KV cache: FP8; or AUTO, that of the checkpoint,
        which is FP8 with a `kv_cache_scheme`. Raises ConfigError for any other.
        """
        if kv_dtype not in (AUTO, FP8):
            raise ConfigError(f"kv_dtype: must be {AUTO!r} or {FP8!r}, got {kv_dtype!r}")
        return self if kv_dtype == AUTO else replace(self, kv_dtype=kv_dtype)

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "LlamaConfig":
        """Read config.json: `LlamaForCausalLM`, `MistralForCausalLM`, or LLaVA with one of them.

        Raises ConfigError for any other model, and for an unsupported field that would change the
        logits. The config's dtype is not read: each stored tensor has its own.
        """
        if is_llava(json):
            return replace(_read_text_config(cls, json), vision=VisionConfig.from_json(json))
        family = read_family(json)
        _reject_unsupported(json, family)
        fields = DEFAULTS | FAMILY_DEFAULTS[family] | dict(json)
        if fields["hidden_act"] != "silu":
            raise ConfigError(f"hidden_act: must be 'silu', got {fields['hidden_act']!r}")
        if fields["num_key_value_heads"] is None:
            fields["num_key_value_heads"] = fields["num_attention_heads"]
        if fields["head_dim"] is None:
            fields["head_dim"] = _head_dim(fields["hidden_size"], fields["num_attention_heads"])
        window, bos = fields["sliding_window"], fields["bos_token_id"]
        quantization = read_quantization(json)
        plain: dict[str, Any] = {name: as_size(name, fields[name]) for name in SIZES}
        plain |= {name: as_flag(name, fields[name]) for name in FLAGS}
        config = cls(
            **plain,
            rms_norm_eps=as_positive("rms_norm_eps", fields["rms_norm_eps"]),
            rope=RopeConfig.from_json(json),
            sliding_window=None if window is None else as_size("sliding_window", window),
            bos_token_id=None if bos is None else as_token_id("bos_token_id", bos),
            eos_token_ids=as_token_ids("eos_token_id", fields["eos_token_id"]),
            quantization=quantization,
            kv_dtype=FP8 if quantization and quantization.kv_scales else None,
        )
        _check_uniform_layers(json, config)
        return config


def _read_text_config(cls: type[LlamaConfig], json: Mapping[str, Any]) -> LlamaConfig:
    """Read the text model of a LLaVA."""
    fields = _text_config(json)
    try:
        return cls.from_json(fields)
    except ConfigError as error:
        raise ConfigError(f"text_config.{error}") from None


def _text_config(json: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `text_config` of a LLaVA as a standalone config, by the rules of transformers.

    Embeddings are tied if either level says so. BOS and EOS ids of the top level take precedence.
    """
    text = json.get("text_config")
    if not isinstance(text, Mapping | None):
        raise ConfigError(f"text_config: must be an object, got {text!r}")
    fields = {"model_type": "llama"} | dict(text or {})
    for level in json, fields:
        if level.get("quantization_config") is not None:
            raise ConfigError(f"quantization_config: not supported for {LLAVA}")
    _reject_unsupported(json, str(fields["model_type"]))
    top_level = {name: json.get(name) for name in ("bos_token_id", "eos_token_id")}
    fields |= {name: value for name, value in top_level.items() if value is not None}
    if as_flag("tie_word_embeddings", json.get("tie_word_embeddings", False)):
        fields["tie_word_embeddings"] = True
    return fields


def read_family(json: Mapping[str, Any]) -> str:
    """Return "llama" or "mistral", from `architectures` and `model_type`.

    One of the two may be absent. Raises ConfigError if they disagree.
    """
    architectures, model_type = json.get("architectures"), json.get("model_type")
    if architectures is None:
        if model_type not in list(FAMILIES.values()):
            supported = ", ".join(FAMILIES.values())
            raise ConfigError(f"model_type: must be one of {supported}, got {model_type!r}")
        return str(model_type)
    for architecture, family in FAMILIES.items():
        if architectures == [architecture]:
            if model_type not in (None, family):
                raise ConfigError(
                    f"model_type: must be {family!r} for {architecture}, got {model_type!r}"
                )
            return family
    supported = ", ".join((*FAMILIES, LLAVA))
    raise ConfigError(f"architectures: must be one of {supported}, got {architectures!r}")


def _head_dim(hidden_size: Any, heads: Any) -> int:
    if as_size("hidden_size", hidden_size) % as_size("num_attention_heads", heads):
        raise ConfigError(
            f"head_dim: missing, and hidden_size {hidden_size} is not a multiple of "
            f"num_attention_heads {heads}"
        )
    return int(hidden_size // heads)


def _reject_unsupported(json: Mapping[str, Any], family: str) -> None:
    for name, neutral in NEUTRAL_VALUES.items():
        if json.get(name) is not None and json[name] != neutral:
            raise ConfigError(f"{name}: not supported, got {json[name]!r}")
    # The class of this family in transformers ignores these fields, but other engines read them.
    for name in ("sliding_window",) if family == "llama" else ("attention_bias", "mlp_bias"):
        if json.get(name):
            raise ConfigError(f"{name}: not supported for {family}, got {json[name]!r}")


def _check_uniform_layers(json: Mapping[str, Any], config: LlamaConfig) -> None:
    windowed = config.sliding_window is not None
    if json.get("use_sliding_window") not in (None, windowed):
        raise ConfigError(f"use_sliding_window: contradicts sliding_window {config.sliding_window}")
    layer_type = "sliding_attention" if windowed else "full_attention"
    types = json.get("layer_types")
    if types is None:
        return
    if not isinstance(types, list) or len(types) != config.num_hidden_layers:
        raise ConfigError("layer_types: must be a list with one entry per layer")
    for item in types:
        if item != layer_type:
            raise ConfigError(f"layer_types: must all be {layer_type!r}, got {item!r}")
