"""The vision encoder and the projector in the config.json of a LLaVA model.

The encoder is CLIP's (Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", 2021), the projector LLaVA 1.5's (Liu et al., "Improved Baselines with Visual
Instruction Tuning", 2023).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.model.config_fields import (
    ConfigError,
    as_flag,
    as_positive,
    as_size,
    as_token_id,
)

SIZES = (
    "image_size",
    "patch_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)
LLAVA, LLAVA_TYPE = "LlavaForConditionalGeneration", "llava"
ACTIVATIONS = ("gelu", "quick_gelu")

# Values of absent fields: the defaults of CLIPVisionConfig and LlavaConfig in transformers.
DEFAULTS: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
DEFAULTS_WITHOUT_VISION_CONFIG: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The architecture and sizes of a CLIP vision encoder and of LLaVA's projector.

    Sizes and their letters: image_size S and patch_size, in pixels; hidden_size C;
    intermediate_size and num_attention_heads of the encoder's layers. feature_layers: numbers of
    layers after which hidden states are taken; concatenated, they are the projector's input.
    keeps_class_token: the class token is one of the image tokens (strategy "full") or is dropped
    ("default"). image_token_id: the placeholder of an image.

    Raises ConfigError, naming the field, for a value out of range.
    """

    image_size: int
    patch_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float = 1e-5
    hidden_act: str = "quick_gelu"
    feature_layers: tuple[int, ...]
    keeps_class_token: bool = False
    projector_act: str = "gelu"
    projector_bias: bool = True
    image_token_id: int

    def __post_init__(self) -> None:
        for name in SIZES:
            as_size(f"vision_config.{name}", getattr(self, name))
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"vision_config.num_attention_heads: must divide hidden_size {self.hidden_size}, "
                f"got {self.num_attention_heads}"
            )
        if self.patch_size > self.image_size:
            raise ConfigError(
                f"vision_config.patch_size: must be at most image_size {self.image_size}, "
                f"got {self.patch_size}"
            )

    @property
    def num_patches(self) -> int:
        """Number of full patches of one image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def tokens_per_image(self) -> int:
        """Number of image tokens that one image adds to a prompt."""
        return self.num_patches + self.keeps_class_token

    @property
    def num_computed_layers(self) -> int:
        """Number of encoder layers up to the last feature layer; the others are not computed."""
        return max(self.feature_layers)

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "VisionConfig":
        """Read the config.json of a `LlavaForConditionalGeneration`, except its `text_config`.

        Raises ConfigError for an encoder that is not CLIP's, and for an unsupported field that
        would change the features.
        """
        vision = json.get("vision_config")
        if not isinstance(vision, Mapping | None):
            raise ConfigError(f"vision_config: must be an object, got {vision!r}")
        fields = DEFAULTS | (DEFAULTS_WITHOUT_VISION_CONFIG if vision is None else dict(vision))
        if fields["model_type"] != "clip_vision_model":
            raise ConfigError(
                "vision_config.model_type: must be 'clip_vision_model', got "
                f"{fields['model_type']!r}"
            )
        if fields["num_channels"] != 3:
            raise ConfigError(
                f"vision_config.num_channels: must be 3, got {fields['num_channels']!r}"
            )
        layers = as_size("vision_config.num_hidden_layers", fields["num_hidden_layers"])
        return cls(
            **{name: fields[name] for name in SIZES},
            layer_norm_eps=as_positive("vision_config.layer_norm_eps", fields["layer_norm_eps"]),
            hidden_act=_activation("vision_config.hidden_act", fields["hidden_act"]),
            feature_layers=_feature_layers(json.get("vision_feature_layer", -2), layers),
            keeps_class_token=_keeps_class_token(
                json.get("vision_feature_select_strategy", "default")
            ),
            projector_act=_activation(
                "projector_hidden_act", json.get("projector_hidden_act", "gelu")
            ),
            projector_bias=as_flag(
                "multimodal_projector_bias", json.get("multimodal_projector_bias", True)
            ),
            image_token_id=_image_token_id(json),
        )


def _activation(name: str, value: Any) -> str:
    if value not in ACTIVATIONS:
        raise ConfigError(f"{name}: must be one of {', '.join(ACTIVATIONS)}, got {value!r}")
    return str(value)


def _feature_layers(value: Any, layers: int) -> tuple[int, ...]:
    """Resolve indices into the states before the first layer and after each layer."""
    indices = value if isinstance(value, list) else [value]
    if not indices:
        raise ConfigError("vision_feature_layer: must have at least one layer, got none")
    for index in indices:
        if not isinstance(index, int) or isinstance(index, bool):
            raise ConfigError(f"vision_feature_layer: must be an integer, got {index!r}")
        if not -layers - 1 <= index <= layers:
            raise ConfigError(
                f"vision_feature_layer: must be {-layers - 1} … {layers}, got {index}"
            )
    return tuple(index % (layers + 1) for index in indices)


def _keeps_class_token(strategy: Any) -> bool:
    if strategy not in ("default", "full"):
        raise ConfigError(
            f"vision_feature_select_strategy: must be 'default' or 'full', got {strategy!r}"
        )
    return bool(strategy == "full")


def _image_token_id(json: Mapping[str, Any]) -> int:
    """Read the placeholder id, under its old or new field name."""
    names = [name for name in ("image_token_index", "image_token_id") if name in json]
    ids = {as_token_id(name, json[name]) for name in names} or {32000}
    if len(ids) > 1:
        raise ConfigError("image_token_index: differs from image_token_id")
    return ids.pop()


def is_llava(json: Mapping[str, Any]) -> bool:
    """Return whether config.json is a LLaVA's. Raises ConfigError if its fields disagree."""
    architectures, model_type = json.get("architectures"), json.get("model_type")
    if architectures == [LLAVA] and model_type not in (None, LLAVA_TYPE):
        raise ConfigError(f"model_type: must be {LLAVA_TYPE!r} for {LLAVA}, got {model_type!r}")
    return architectures == [LLAVA] or (architectures is None and model_type == LLAVA_TYPE)
