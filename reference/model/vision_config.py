"""What a LLaVA sees with: the `vision_config` of its config.json, and how the tower's features
become rows of a prompt.

The tower is CLIP's (Radford et al., "Learning Transferable Visual Models From Natural Language
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
ACTIVATIONS = ("gelu", "quick_gelu")

# What an absent field means: the defaults of CLIPVisionConfig and LlavaConfig in transformers.
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
NO_VISION_CONFIG: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The shape of a CLIP vision tower and of LLaVA's projector.

    Sizes and their letters: image_size S and patch_size, in pixels; hidden_size C;
    intermediate_size and num_attention_heads of the tower's layers. feature_layers: after how many
    layers the states are taken that the projector reads, side by side; none above the highest is
    computed. keeps_class: whether the class token's row is one of an image's (the strategy "full")
    or is left out ("default"). image_token_id: stands where an image does.

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
    keeps_class: bool = False
    projector_act: str = "gelu"
    projector_bias: bool = True
    image_token_id: int

    def __post_init__(self) -> None:
        for name in SIZES:
            as_size(f"vision_config.{name}", getattr(self, name))
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"vision_config.num_attention_heads: {self.num_attention_heads} does not divide "
                f"hidden_size, {self.hidden_size}"
            )
        if self.patch_size > self.image_size:
            raise ConfigError(
                f"vision_config.patch_size: {self.patch_size} is more than image_size, "
                f"{self.image_size}"
            )

    @property
    def patches(self) -> int:
        """Of one image: what is left beside whole patches is not seen."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def rows(self) -> int:
        """How many places of a prompt one image takes."""
        return self.patches + self.keeps_class

    @property
    def layers(self) -> int:
        """How many of the tower's layers are computed."""
        return max(self.feature_layers)

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> "VisionConfig":
        """Read the config.json of a `LlavaForConditionalGeneration`, all but its `text_config`.

        Raises ConfigError for a tower that is not CLIP's, and for a field that would change the
        features and is not implemented.
        """
        given = json.get("vision_config")
        if not isinstance(given, Mapping | None):
            raise ConfigError("vision_config: not an object")
        fields = DEFAULTS | (NO_VISION_CONFIG if given is None else dict(given))
        if fields["model_type"] != "clip_vision_model":
            raise ConfigError(
                f"vision_config.model_type: {fields['model_type']!r} is not supported, only "
                "clip_vision_model"
            )
        if fields["num_channels"] != 3:
            raise ConfigError(f"vision_config.num_channels: {fields['num_channels']!r} is not 3")
        layers = as_size("vision_config.num_hidden_layers", fields["num_hidden_layers"])
        return cls(
            **{name: fields[name] for name in SIZES},
            layer_norm_eps=as_positive("vision_config.layer_norm_eps", fields["layer_norm_eps"]),
            hidden_act=_activation("vision_config.hidden_act", fields["hidden_act"]),
            feature_layers=_feature_layers(json.get("vision_feature_layer", -2), layers),
            keeps_class=_keeps_class(json.get("vision_feature_select_strategy", "default")),
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
        raise ConfigError(f"{name}: {value!r} is not supported, only {', '.join(ACTIVATIONS)}")
    return str(value)


def _feature_layers(value: Any, layers: int) -> tuple[int, ...]:
    """Indices into the states before the first layer and after each; negative ones count from the
    end.
    """
    indices = value if isinstance(value, list) else [value]
    if not indices:
        raise ConfigError("vision_feature_layer: none is given")
    for index in indices:
        if not isinstance(index, int) or isinstance(index, bool):
            raise ConfigError(f"vision_feature_layer: {index!r} is not an integer")
        if not -layers - 1 <= index <= layers:
            raise ConfigError(f"vision_feature_layer: {index} of a tower of {layers} layers")
    return tuple(index % (layers + 1) for index in indices)


def _keeps_class(strategy: Any) -> bool:
    if strategy not in ("default", "full"):
        raise ConfigError(
            f"vision_feature_select_strategy: {strategy!r} is neither 'default' nor 'full'"
        )
    return bool(strategy == "full")


def _image_token_id(json: Mapping[str, Any]) -> int:
    """The name of the field changed with the years."""
    names = [name for name in ("image_token_index", "image_token_id") if name in json]
    found = {as_token_id(name, json[name]) for name in names} or {32000}
    if len(found) > 1:
        raise ConfigError("image_token_index: differs from image_token_id")
    return found.pop()
