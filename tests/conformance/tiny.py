"""A random model for the checks' own tests: fast, and with ties.

Small enough that a token takes a millisecond, with the embedded model's tokenizer. Some pairs of
tokens have the same row in the output head, so that their logits are equal to the bit.
"""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from reference.model import EMBEDDED

LAYERS, D, FFN, HEADS, KV, CONTEXT = 1, 32, 64, 4, 2, 256
TIED = range(300, 900)  # each even id in it has the row of the next
FILES = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")


def write(directory: Path, seed: int = 0) -> Path:
    """The checkpoint, in Hugging Face format."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(EMBEDDED / "text" / name, directory / name)
    stored = json.loads((EMBEDDED / "text" / "config.json").read_text())
    config = stored | {
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
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors(config["vocab_size"], seed), directory / "model.safetensors")
    return directory


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


def shift(seed: int) -> np.ndarray:
    """Added to each row of the head: it moves all logits of a step up or down together, which no
    probability depends on. So there are steps without a logit above 0, where a repetition penalty
    multiplies.
    """
    return (np.random.default_rng(seed + 1).normal(size=D) * 2).astype(np.float32)
