"""Random models for the checks' own tests: fast, and with ties. One reads text only, one sees.

Small enough that a token takes a millisecond, with the embedded model's tokenizer. Some pairs of
tokens have the same row in the output head, so that their logits are equal to the bit.
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
TIED = range(300, 900)  # each even id in it has the row of the next
FILES = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
SIDE = 12  # of what the tower reads; 9 patches
EYES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 4,
}


def sees(identity: str) -> bool:
    """Whether a check or a mutant is about a model that sees, by its id."""
    return identity.startswith("data/")


def write(directory: Path, seed: int = 0) -> Path:
    """The checkpoint of a model that reads text only, in Hugging Face format."""
    copy_tokenizer(directory)
    config = text_config()
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors(config["vocab_size"], seed), directory / "model.safetensors")
    return directory


def write_seeing(directory: Path, seed: int = 0) -> Path:
    """The checkpoint of a LLaVA whose placeholder is one more token than the text has."""
    copy_tokenizer(directory)
    text = text_config()
    placeholder = text["vocab_size"]
    llava = {
        "architectures": ["LlavaForConditionalGeneration"],
        "image_token_index": placeholder,
        "text_config": text | {"vocab_size": placeholder + 1},
        "vision_config": EYES,
    }
    (directory / "config.json").write_text(json.dumps(llava))
    prepared = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    (directory / "preprocessor_config.json").write_text(json.dumps(prepared))
    add_token(directory / "tokenizer_config.json", placeholder, PLACEHOLDER)
    eyes = vision_tensors(VisionConfig.from_json(llava), seed)
    save_file(tensors(placeholder + 1, seed) | eyes, directory / "model.safetensors")
    return directory


def copy_tokenizer(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(EMBEDDED / "text" / name, directory / name)


def add_token(path: Path, token: int, name: str) -> None:
    """A special token, in a tokenizer_config.json."""
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
    """Random weights. The head is scaled so that the likeliest tokens have probabilities like 0.3,
    0.1 and 0.05, and so that text seldom ends.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.normal(size=shape) * scale).astype(np.float32)

    head = normal(vocab_size, D, scale=0.6)
    head[TIED.start : TIED.stop : 2] = head[TIED.start + 1 : TIED.stop + 1 : 2]
    head[2] = 0  # the end of the text
    head += shift(seed)
    found = {
        "model.embed_tokens.weight": normal(vocab_size, D),
        "model.norm.weight": np.ones(D, np.float32),
        "lm_head.weight": head,
    }
    half = D // HEADS * KV
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        scale = D**-0.5
        found |= {
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
    return found


def vision_tensors(config: VisionConfig, seed: int) -> dict[str, np.ndarray]:
    """Random weights of a tower and a projector. Rows of an image are larger than those of the
    embedding, so that what is written hangs on what is seen.
    """
    rng = np.random.default_rng(seed + 2)
    found = {}
    for name, shape in expected_tensors(config, D):
        if "norm" in name or "layrnorm" in name:
            found[name] = np.full(shape, name.endswith("weight"), np.float32)
        else:
            wide = len(shape) > 1 and "position" not in name
            scale = np.prod(shape[1:]) ** -0.5 if wide else 0.3
            found[name] = (rng.normal(size=shape) * scale).astype(np.float32)
    found["multi_modal_projector.linear_2.weight"] *= 6
    return found


def shift(seed: int) -> np.ndarray:
    """Added to each row of the head: it moves all logits of a step up or down together, which no
    probability depends on. So there are steps without a logit above 0, where a repetition penalty
    multiplies.
    """
    return (np.random.default_rng(seed + 1).normal(size=D) * 2).astype(np.float32)
