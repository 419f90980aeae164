"""LLaVA's config.json and tensor names: supported ones are read, errors name the field."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from reference.model import checkpoint
from reference.model.config import LlamaConfig
from reference.model.config_fields import ConfigError
from reference.model.stored_tensors import CheckpointError
from reference.model.tensor_names import canonical
from reference.model.vision_config import VisionConfig
from tests.goldens import GOLDENS, VISION_MODELS

LLAVA = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"}
TEXT = {"vocab_size": 32064}


def read(**fields: Any) -> VisionConfig:
    vision = LlamaConfig.from_json(LLAVA | {"text_config": TEXT} | fields).vision
    assert vision is not None
    return vision


@pytest.mark.parametrize("case", ["llava", "llava_empty"])
def test_defaults_are_those_of_transformers(case: str) -> None:
    explicit = json.loads((GOLDENS / "llava_defaults.json").read_text())[case]
    minimal = {"vision_config": {}} if case == "llava_empty" else {}
    assert VisionConfig.from_json(minimal) == VisionConfig.from_json(explicit)


def test_llava_1_5() -> None:
    vision = read(
        image_token_index=32000,
        projector_hidden_act="gelu",
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        vision_config={
            "hidden_size": 1024,
            "image_size": 336,
            "intermediate_size": 4096,
            "model_type": "clip_vision_model",
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": 14,
            "projection_dim": 768,
            "vocab_size": 32000,
        },
    )
    assert vision == read()
    assert (vision.num_patches, vision.tokens_per_image, vision.num_computed_layers) == (
        576,
        576,
        23,
    )
    assert read(vision_feature_select_strategy="full").tokens_per_image == 577


@pytest.mark.parametrize(
    ("given", "layers"), [(-2, (23,)), (-1, (24,)), (0, (0,)), (24, (24,)), ([-2, 5], (23, 5))]
)
def test_feature_layers_count_from_either_end(given: Any, layers: tuple[int, ...]) -> None:
    assert read(vision_feature_layer=given).feature_layers == layers


REFUSED: dict[str, dict[str, Any]] = {
    "model_type": {"model_type": "llava_next"},
    "text_config": {"text_config": 3},
    "vision_config": {"vision_config": []},
    "vision_config.model_type": {"vision_config": {"model_type": "siglip_vision_model"}},
    "vision_config.num_channels": {"vision_config": {"num_channels": 1}},
    "vision_config.hidden_act": {"vision_config": {"hidden_act": "relu"}},
    "vision_config.patch_size": {"vision_config": {"patch_size": 225}},
    "vision_config.num_attention_heads": {"vision_config": {"num_attention_heads": 7}},
    "vision_config.image_size": {"vision_config": {"image_size": 0}},
    "vision_config.layer_norm_eps": {"vision_config": {"layer_norm_eps": -1}},
    "vision_feature_layer": {"vision_feature_layer": 25},
    "vision_feature_layer: .* got none": {"vision_feature_layer": []},
    "vision_feature_layer: .* got True": {"vision_feature_layer": True},
    "vision_feature_select_strategy": {"vision_feature_select_strategy": "cls"},
    "projector_hidden_act": {"projector_hidden_act": "silu"},
    "multimodal_projector_bias": {"multimodal_projector_bias": 1},
    "image_token_index": {"image_token_index": -1},
    "image_token_index: differs": {"image_token_index": 5, "image_token_id": 6},
    "image_token_index: .* got 32064": {"image_token_index": 32064},
    "text_config.hidden_size": {"text_config": {"hidden_size": 0}},
    "quantization_config": {"quantization_config": {"bits": 4}},
    "tie_word_embeddings": {"tie_word_embeddings": "yes"},
}


@pytest.mark.parametrize("field", REFUSED)
def test_refused_fields_are_named(field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}"):
        read(**REFUSED[field])


def test_top_level_eos_and_bos_take_precedence() -> None:
    inner = {"text_config": TEXT | {"eos_token_id": 5, "bos_token_id": 6}}
    assert LlamaConfig.from_json(LLAVA | inner).eos_token_ids == (5,)
    config = LlamaConfig.from_json(LLAVA | inner | {"eos_token_id": [7, 8], "bos_token_id": 9})
    assert (config.eos_token_ids, config.bos_token_id) == ((7, 8), 9)


@pytest.mark.parametrize("level", ["top level", "text_config", "both"])
def test_embeddings_are_tied_by_either_level(level: str) -> None:
    tied = {"tie_word_embeddings": True}
    inner = TEXT | (tied if level != "top level" else {})
    config = LlamaConfig.from_json(
        LLAVA | {"text_config": inner} | ({} if level == "text_config" else tied)
    )
    assert config.tie_word_embeddings


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("language_model.model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"),
        ("model.language_model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("model.vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("vision_tower.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("model.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.bias"),
        ("model.embed_tokens.weight", "model.embed_tokens.weight"),
        ("model.image_newline", "model.image_newline"),
    ],
)
def test_canonical_tensor_names(name: str, expected: str) -> None:
    assert canonical(name) == expected == canonical(expected)


def copy_with_changed_tensors(directory: Path, out: Path, change: Any) -> Path:
    """Copy a golden directory, and change its tensors."""
    (out / "config.json").write_text((directory / "config.json").read_text())
    save_file(change(load_file(directory / "model.safetensors")), out / "model.safetensors")
    return out


@pytest.mark.parametrize("directory", VISION_MODELS, ids=lambda path: path.name)
def test_missing_tensor_is_named(directory: Path, tmp_path: Path) -> None:
    names = load_file(directory / "model.safetensors")
    for missing in "linear_2.weight", "class_embedding", "layers.0.self_attn.out_proj.bias":
        name = next(n for n in names if n.endswith(missing) and "language" not in n)
        path = copy_with_changed_tensors(
            directory, tmp_path, lambda t, n=name: {k: v for k, v in t.items() if k != n}
        )
        with pytest.raises(CheckpointError, match=f"{missing}: missing"):
            checkpoint.load(path)


def test_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    def duplicate(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        name = next(n for n in tensors if n.endswith("multi_modal_projector.linear_1.weight"))
        alias = f"model.{name}" if not name.startswith("model.") else name.removeprefix("model.")
        return tensors | {alias: tensors[name]}

    with pytest.raises(CheckpointError, match="the same tensor as"):
        checkpoint.load(copy_with_changed_tensors(VISION_MODELS[0], tmp_path, duplicate))


def test_unknown_tensor_is_refused(tmp_path: Path) -> None:
    def add_tensor(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return tensors | {"model.image_newline": np.zeros(3, np.float32)}

    with pytest.raises(CheckpointError, match="image_newline: not a tensor of this model"):
        checkpoint.load(copy_with_changed_tensors(VISION_MODELS[0], tmp_path, add_tensor))


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.0.self_attn.q_norm.weight",
        "encoder.layers.0.self_attn.q_proj.lora_A",
        "encoder.layers.0.layer_scale1",
        "encoder.layers.57.mlp.fc1.weight",
        "post_layernorm.scale",
    ],
)
def test_unknown_encoder_tensor_is_refused(name: str, tmp_path: Path) -> None:
    def add_tensor(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return tensors | {f"vision_tower.{name}": np.zeros(3, np.float32)}

    with pytest.raises(CheckpointError, match=f"{name}: not a tensor of this model"):
        checkpoint.load(copy_with_changed_tensors(VISION_MODELS[0], tmp_path, add_tensor))


def test_unused_encoder_tensors_may_be_absent(tmp_path: Path) -> None:
    """They are the layers above the last feature layer, and CLIP's output norm."""
    directory = GOLDENS / "llava_plain"
    config = checkpoint.load(directory).config.vision
    assert config is not None

    def remove_unused(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        unused = f"encoder.layers.{config.num_computed_layers}."
        return {n: t for n, t in tensors.items() if unused not in n and "post_layernorm" not in n}

    weights = checkpoint.load(
        copy_with_changed_tensors(directory, tmp_path, remove_unused)
    ).weights.vision
    assert weights is not None and len(weights.layers) == config.num_computed_layers
