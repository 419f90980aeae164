"""Export of the trained model as a Hugging Face directory: a `LlavaForConditionalGeneration`."""

from pathlib import Path
from shutil import copyfile
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from jax_backend.training.text import export as text
from jax_backend.training.text.export import write
from jax_backend.training.text.model import BOS, EOS, Tensors
from jax_backend.training.vision.model import PROJECTOR, TOWER, VisionShape
from jax_backend.training.vision.train import preprocessor

PLACEHOLDER = "<image>"


def export(out: Path, shape: VisionShape, weights: Tensors, language_model: Path) -> None:
    """Write configs, tokenizer and weights (bfloat16) into `out`. language_model: the directory
    with the tokenizer.
    """
    out.mkdir(parents=True, exist_ok=True)
    stored = {name_in_file(k): np.asarray(v).astype(ml_dtypes.bfloat16) for k, v in weights.items()}
    save_file(stored, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    copyfile(language_model / "tokenizer.model", out / "tokenizer.model")
    write(out / "config.json", config(shape))
    write(out / "generation_config.json", {"bos_token_id": BOS, "eos_token_id": EOS})
    write(out / "tokenizer_config.json", tokenizer_config(shape))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write(out / "special_tokens_map.json", names)
    write(out / "preprocessor_config.json", preprocessor(shape))
    write(out / "processor_config.json", processor_config(shape))


def name_in_file(name: str) -> str:
    """Return the name of a tensor in the files of LLaVA 1.5."""
    if name.startswith(TOWER):
        return f"{TOWER}vision_model.{name.removeprefix(TOWER)}"
    return name if name.startswith(PROJECTOR) else f"language_model.{name}"


def config(s: VisionShape) -> dict[str, Any]:
    """Return config.json."""
    language = text.config(s.text)
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": s.image_token,
        "image_seq_length": s.image_tokens,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": True,
        "torch_dtype": language["torch_dtype"],
        "text_config": language,
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": s.width,
            "intermediate_size": s.ffn,
            "num_hidden_layers": s.layers,
            "num_attention_heads": s.heads,
            "num_channels": 3,
            "image_size": s.image,
            "patch_size": s.patch,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": s.eps,
            "projection_dim": s.width,
        },
    }


def tokenizer_config(s: VisionShape) -> dict[str, Any]:
    """Return tokenizer_config.json, with the image placeholder."""
    result = text.tokenizer_config(s.text)
    result["added_tokens_decoder"][str(s.image_token)] = text.special(PLACEHOLDER)
    names = {"image_token": PLACEHOLDER}
    return result | names | {"extra_special_tokens": names}


def processor_config(s: VisionShape) -> dict[str, Any]:
    """Return processor_config.json, by which transformers repeats the placeholder."""
    return {
        "processor_class": "LlavaProcessor",
        "image_token": PLACEHOLDER,
        "patch_size": s.patch,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }
