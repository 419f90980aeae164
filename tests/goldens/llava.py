"""Random small LLaVA checkpoints, and what transformers computes from them in float32.

Each directory `llava_<name>/` has a checkpoint and a `golden.npz` of

    pixels    (B, 3, S, S) float32  images, as if preprocessed
    features  (B, R, D) float32     the image embeddings, output of the projector
    tokens    (T,) int32            text around the images, each of which is R times the image id
    logits    (T, V) float32

`llava_defaults.json` has transformers' defaults of absent fields: of LlavaConfig, of
CLIPVisionConfig, and of LlavaConfig with an empty `vision_config` and `text_config`.
"""

import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    logging,
)

from tests.goldens.models import write_json

TEXT = {
    "model_type": "llama",
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "pad_token_id": None,
}
VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 12,
    "patch_size": 4,
    "projection_dim": 8,
}
TOP = {"image_token_index": 40, "image_seq_length": 9}
BRIEF_VISION = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "image_size",
    "patch_size",
    "projection_dim",
)
BRIEF_TEXT = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
)
POSITIONS = "vision_tower.vision_model.embeddings.position_ids"

# Prefixes of tensor names: in transformers 5 (left) and in another generation (right).
GENERATIONS = {
    "a": {"vision_tower.": "vision_tower.vision_model."},
    "b": {
        "language_model.model.": "model.language_model.",
        "language_model.lm_head.": "lm_head.",
        "vision_tower.": "model.vision_tower.vision_model.",
        "multi_modal_projector.": "model.multi_modal_projector.",
    },
    "c": {
        "language_model.model.": "model.language_model.",
        "language_model.lm_head.": "lm_head.",
        "vision_tower.": "model.vision_tower.",
        "multi_modal_projector.": "model.multi_modal_projector.",
    },
    "d": {},
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One golden checkpoint. names: the generation of the tensor names. spelling: how to rewrite
    config.json. positions: whether to add a tensor of position ids, which no model uses.
    """

    top: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)
    vision: Mapping[str, Any] = field(default_factory=dict)
    names: str = "d"
    dtype: str = "float32"
    images: int = 2
    spelling: Callable[[dict[str, Any]], dict[str, Any]] = dict
    positions: bool = False


def to_older_format(config: dict[str, Any]) -> dict[str, Any]:
    """Convert a config.json to the format of transformers 4."""
    text = dict(config["text_config"])
    rope = text.pop("rope_parameters")
    dtype = config["dtype"]
    text |= {"rope_theta": rope["rope_theta"], "rope_scaling": None, "torch_dtype": dtype}
    vision = config["vision_config"] | {"torch_dtype": dtype}
    top = {key: value for key, value in config.items() if key != "dtype"}
    return top | {"text_config": text, "vision_config": vision, "torch_dtype": dtype}


def to_brief_format(config: dict[str, Any]) -> dict[str, Any]:
    """Convert a config.json to the form of the first LLaVA-1.5 checkpoints: most defaults are
    omitted.
    """
    text = {key: config["text_config"][key] for key in BRIEF_TEXT}
    vision = {key: config["vision_config"][key] for key in BRIEF_VISION}
    text |= {
        "_name_or_path": "lmsys/vicuna-7b-v1.5",
        "architectures": ["LlamaForCausalLM"],
        "torch_dtype": "float16",
    }
    return {
        "architectures": config["architectures"],
        "ignore_index": -100,
        "image_token_index": config["image_token_index"],
        "model_type": "llava",
        "pad_token_id": 0,
        "text_config": text,
        "torch_dtype": "float16",
        "vision_config": vision | {"vocab_size": 32000},
        "vocab_size": text["vocab_size"],
    }


def use_image_token_id(config: dict[str, Any]) -> dict[str, Any]:
    """Use the newer name of the image token's field."""
    top = {key: value for key, value in config.items() if key != "image_token_index"}
    return top | {"image_token_id": config["image_token_index"]}


def declare_tied_in_text(config: dict[str, Any]) -> dict[str, Any]:
    """Declare tied embeddings only in the text config."""
    return {key: value for key, value in config.items() if key != "tie_word_embeddings"}


MODELS = {
    "plain": Model(),
    "brief": Model(
        top={"image_token_index": 47},
        text={"max_position_embeddings": 2048, "rms_norm_eps": 1e-6},
        vision={
            "hidden_size": 24,
            "intermediate_size": 4,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
        names="a",
        dtype="float16",
        images=1,
        spelling=to_brief_format,
        positions=True,
    ),
    "before": Model(
        top={"vision_feature_layer": -1, "vision_feature_select_strategy": "full"},
        names="a",
        spelling=to_older_format,
    ),
    "tied": Model(
        top={"vision_feature_layer": 1, "image_seq_length": 576},
        text={"tie_word_embeddings": True, "num_key_value_heads": 1},
        names="b",
        dtype="bfloat16",
        images=1,
        spelling=declare_tied_in_text,
    ),
    "layers": Model(
        top={"vision_feature_layer": [-2, 1], "multimodal_projector_bias": False},
        text={"num_key_value_heads": 2},
        vision={"hidden_act": "gelu", "layer_norm_eps": 1e-3},
        names="c",
        spelling=use_image_token_id,
    ),
    "window": Model(
        top={
            "vision_feature_layer": [3, 0, -2],
            "vision_feature_select_strategy": "full",
            "image_token_index": 0,
        },
        text={"model_type": "mistral", "sliding_window": 7, "num_key_value_heads": 2},
        names="b",
        spelling=to_older_format,
    ),
    "margin": Model(
        top={"vision_feature_layer": -3, "vision_feature_select_strategy": "full"},
        text={"head_dim": 6, "attention_bias": True, "mlp_bias": True},
        vision={"image_size": 15, "num_attention_heads": 3},
        dtype="bfloat16",
        images=1,
    ),
}


def make(directory: Path) -> None:
    logging.disable_progress_bar()
    defaults = {
        "llava": LlavaConfig().to_dict(),
        "llava_empty": LlavaConfig(vision_config={}, text_config={}).to_dict(),
        "clip_vision_model": CLIPVisionConfig().to_dict(),
    }
    write_json(directory / "llava_defaults.json", defaults)
    for name, model in MODELS.items():
        folder = directory / f"llava_{name}"
        spread = write(folder, model)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder.name:12} {size / 1000:6.1f} kB, logits over {spread:.1f}")


def write(directory: Path, model: Model) -> float:
    """Write one checkpoint and its golden file, and return the range of its logits."""
    rng = np.random.default_rng(zlib.crc32(directory.name.encode()))
    config = LlavaConfig(
        **TOP | dict(model.top),
        text_config=TEXT | dict(model.text),
        vision_config=VISION | dict(model.vision),
    )
    made = LlavaForConditionalGeneration(config)
    fill(made, rng)
    made.to(getattr(torch, model.dtype))
    shutil.rmtree(directory, ignore_errors=True)
    made.save_pretrained(directory)
    rename(directory / "model.safetensors", GENERATIONS[model.names], model.positions)
    path = directory / "config.json"
    write_json(path, model.spelling(json.loads(path.read_text())))
    for path in directory.iterdir():
        path.chmod(0o644)

    loaded = load(directory, made)
    size = config.vision_config.image_size
    pixels = rng.standard_normal((model.images, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        features = torch.stack(loaded.get_image_features(torch.from_numpy(pixels)).pooler_output)
        tokens = prompt(rng, config, model.images, features.shape[1])
        inputs = {"input_ids": torch.from_numpy(tokens)[None], "use_cache": False}
        logits = loaded(**inputs, pixel_values=torch.from_numpy(pixels)).logits[0].numpy()
    np.savez(
        directory / "golden.npz",
        pixels=pixels,
        features=features.numpy(),
        tokens=tokens.astype(np.int32),
        logits=logits,
    )
    return float(np.ptp(logits))


def fill(model: PreTrainedModel, rng: np.random.Generator) -> None:
    """Fill in weights that make attention selective, keep the inputs of the projector's activation
    near 0, and give the logits a wide range.
    """
    for name, parameter in model.named_parameters():
        values = rng.standard_normal(parameter.shape)
        if "norm" in name and name.endswith(".weight"):
            values = 1 + 0.3 * values
        elif parameter.ndim == 4 or (parameter.ndim == 2 and "embed" not in name):
            gain = 0.4 if "projector" in name else 1.5
            values *= gain / np.sqrt(parameter[0].numel())
        parameter.data = torch.from_numpy(values.astype(np.float32))


def rename(path: Path, prefixes: Mapping[str, str], positions: bool) -> None:
    """Give the tensors in a file the names of another generation."""
    tensors = {renamed(name, prefixes): tensor for name, tensor in load_file(path).items()}
    if positions:
        table = next(v for k, v in tensors.items() if k.endswith("position_embedding.weight"))
        tensors[POSITIONS] = torch.arange(len(table))[None]
    save_file(tensors, path, metadata={"format": "pt"})


def renamed(name: str, prefixes: Mapping[str, str]) -> str:
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def load(directory: Path, made: PreTrainedModel) -> PreTrainedModel:
    """Load the checkpoint in float32, and check that it is complete and unchanged."""
    read, report = LlavaForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    assert read.config.image_token_id == made.config.image_token_id
    values, expected = read.state_dict(), made.state_dict()
    assert values.keys() == expected.keys()
    for name, value in values.items():
        assert torch.equal(value, expected[name].float()), name
    return read.eval()


def prompt(
    rng: np.random.Generator, config: LlavaConfig, images: int, tokens_per_image: int
) -> np.ndarray:
    """(T,) int64: text before, between and after the images"""
    words = np.delete(np.arange(config.text_config.vocab_size), config.image_token_id)
    parts = [rng.choice(words, rng.integers(2, 6))]
    for _ in range(images):
        parts += [
            np.full(tokens_per_image, config.image_token_id),
            rng.choice(words, rng.integers(3, 6)),
        ]
    return np.concatenate(parts)
