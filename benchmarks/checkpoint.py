"""A checkpoint of a real shape with random weights, for every engine to read."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.shapes import SHAPES, config
from reference.checkpoint import SINGLE
from reference.model import EMBEDDED
from reference.weights import expected_tensors

CONTEXT = 4096
TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")


def write(directory: Path, shape: str) -> None:
    """Into a directory, unless it is there: float32, normal, of a scale that keeps activations near
    1, with the embedded model's tokenizer.
    """
    if (directory / SINGLE).exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copyfile(EMBEDDED / "text" / name, directory / name)
    fields: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 32000,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    fields |= SHAPES[shape] | {"max_position_embeddings": CONTEXT}
    (directory / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
    rng = np.random.default_rng(0)
    tensors = {
        name: np.ones(size, np.float32)
        if len(size) == 1
        else rng.standard_normal(size, np.float32) / np.float32(np.sqrt(size[-1]))
        for name, size in expected_tensors(config(shape))
    }
    save_file(tensors, directory / SINGLE, metadata={"format": "pt"})
