"""A checkpoint of a real shape with random weights, for every engine to read."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.shapes import config, config_json
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
    fields = config_json(shape) | {
        "max_position_embeddings": CONTEXT,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (directory / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
    rng = np.random.default_rng(0)
    tensors = {
        name: np.ones(size, np.float32)
        if len(size) == 1
        else rng.standard_normal(size, np.float32) / np.float32(np.sqrt(size[-1]))
        for name, size in expected_tensors(config(shape))
    }
    save_file(tensors, directory / SINGLE, metadata={"format": "pt"})
