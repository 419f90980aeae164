"""Random models for the tests of the checks, text-only and vision-language: fast, and with ties.

A token takes about a millisecond. The tokenizer is that of the embedded model. Some pairs of tokens
share their row of the output head, so their logits are bitwise identical.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from conformance.fixtures.images import PLACEHOLDER
from reference.bundle import EMBEDDED
from reference.model.vision_config import VisionConfig
from reference.model.vision_weights import expected_tensors

LAYERS, D, FFN, HEADS, KV, CONTEXT = 1, 32, 64, 4, 2, 256
TIED = range(300, 900)  # each even id shares the row of the next
FILES = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
IMAGE_SIZE = 12  # of the vision tower; 9 patches
VISION_CONFIG = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": IMAGE_SIZE,
    "patch_size": 4,
}


def needs_vision(identity: str) -> bool:
    """Return whether a check or a mutant needs the vision-language model, by its id."""
    return identity.startswith("data/")


def write(directory: Path, seed: int = 0) -> Path:
    """Write the checkpoint of a text-only model, in Hugging Face format."""
    copy_tokenizer(directory)
    config = text_config()
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors(config["vocab_size"], seed), directory / "model.safetensors")
    return directory


def write_vision(directory: Path, seed: int = 0) -> Path:
    """Write the checkpoint of a LLaVA, whose placeholder is a token added to the vocabulary."""
    copy_tokenizer(directory)
    text = text_config()
    placeholder = text["vocab_size"]
    llava = {
        "architectures": ["LlavaForConditionalGeneration"],
        "image_token_index": placeholder,
        "text_config": text | {"vocab_size": placeholder + 1},
        "vision_config": VISION_CONFIG,
    }
    (directory / "config.json").write_text(json.dumps(llava))
    prepared = {
        "size": {"shortest_edge": IMAGE_SIZE},
        "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    }
    (directory / "preprocessor_config.json").write_text(json.dumps(prepared))
    add_token(directory / "tokenizer_config.json", placeholder, PLACEHOLDER)
    vision = vision_tensors(VisionConfig.from_json(llava), seed)
    save_file(tensors(placeholder + 1, seed) | vision, directory / "model.safetensors")
    return directory


def copy_tokenizer(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(EMBEDDED / "text" / name, directory / name)


def add_token(path: Path, token: int, name: str) -> None:
    """Add a special token to a tokenizer_config.json."""
    config = json.loads(path.read_text())
    config["added_tokens_decoder"][str(token)] = {"content": name, "special": True}
    path.write_text(json.dumps(config))


def text_config() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((EMBEDDED / "text" / "config.json").read_text())
    return stored | {
        "hidden_size": D,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV,
        "head_dim": D // HEADS,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }


def tensors(vocab_size: int, seed: int) -> dict[str, np.ndarray]:
    """Return random weights.

    The scale of the head gives the top tokens probabilities like 0.3, 0.1 and 0.05. The end of
    sequence is unlikely.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.normal(size=shape) * scale).astype(np.float32)

    head = normal(vocab_size, D, scale=0.6)
    head[TIED.start : TIED.stop : 2] = head[TIED.start + 1 : TIED.stop + 1 : 2]
    head[2] = 0  # end of sequence
    head += shift(seed)
    weights = {
        "model.embed_tokens.weight": normal(vocab_size, D),
        "model.norm.weight": np.ones(D, np.float32),
        "lm_head.weight": head,
    }
    half = D // HEADS * KV
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        scale = D**-0.5
        weights |= {
            f"{layer}.input_layernorm.weight": np.ones(D, np.float32),
            f"{layer}.post_attention_layernorm.weight": np.ones(D, np.float32),
            f"{layer}.self_attn.q_proj.weight": normal(D, D, scale=scale),
            f"{layer}.self_attn.k_proj.weight": normal(half, D, scale=scale),
            f"{layer}.self_attn.v_proj.weight": normal(half, D, scale=scale),
            f"{layer}.self_attn.o_proj.weight": normal(D, D, scale=scale),
            f"{layer}.mlp.gate_proj.weight": normal(FFN, D, scale=scale),
            f"{layer}.mlp.up_proj.weight": normal(FFN, D, scale=scale),
            f"{layer}.mlp.down_proj.weight": normal(D, FFN, scale=FFN**-0.5),
        }
    return weights


def vision_tensors(config: VisionConfig, seed: int) -> dict[str, np.ndarray]:
    """Return random weights of a tower and a projector.

    Image embeddings are larger than token embeddings, so that the text depends on the image.
    """
    rng = np.random.default_rng(seed + 2)
    weights = {}
    for name, shape in expected_tensors(config, D):
        if "norm" in name or "layrnorm" in name:
            weights[name] = np.full(shape, name.endswith("weight"), np.float32)
        else:
            wide = len(shape) > 1 and "position" not in name
            scale = np.prod(shape[1:]) ** -0.5 if wide else 0.3
            weights[name] = (rng.normal(size=shape) * scale).astype(np.float32)
    weights["multi_modal_projector.linear_2.weight"] *= 6
    return weights


def shift(seed: int) -> np.ndarray:
    """Return a vector to add to each row of the head, which shifts all logits of a step together.

    No probability depends on it. But at some steps no logit is above 0, so that a repetition
    penalty multiplies all of them.
    """
    return (np.random.default_rng(seed + 1).normal(size=D) * 2).astype(np.float32)
