"""A checkpoint of a real shape with random weights, for all engines."""

import json
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes  # noqa: F401  # registers bfloat16
import numpy as np
from safetensors.numpy import save_file

from benchmarks.roofline import THREADS
from benchmarks.shapes import config, config_json
from reference.bundle import EMBEDDED
from reference.model.checkpoint import INDEX
from reference.model.weights import expected_tensors

CONTEXT = 4096
TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")


def write(directory: Path, shape: str, precision: str = "float32") -> None:
    """Write a checkpoint, unless it exists: normal weights, scaled to keep activations near 1, and
    the embedded model's tokenizer. One file per layer, and one for the rest.
    """
    if (directory / INDEX).exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copyfile(EMBEDDED / "text" / name, directory / name)
    fields = config_json(shape) | {
        "max_position_embeddings": CONTEXT,
        "torch_dtype": precision,
        "bos_token_id": 1,
        "eos_token_id": None,  # no sequence ends at random
    }
    (directory / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
    parts: dict[str, list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    for name, size in expected_tensors(config(shape)):
        layer = name.split(".")[2] if ".layers." in name else "rest"
        parts[f"model-{layer}.safetensors"].append((name, size))
    with ThreadPoolExecutor(THREADS) as pool:
        written = [
            pool.submit(write_part, directory / file, tensors, precision, seed)
            for seed, (file, tensors) in enumerate(parts.items())
        ]
        total = sum(part.result() for part in written)
    weight_map = {name: file for file, tensors in parts.items() for name, _ in tensors}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def write_part(
    file: Path, tensors: list[tuple[str, tuple[int, ...]]], precision: str, seed: int
) -> int:
    """Write one file. Return the size of its tensors in bytes."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, size in tensors:
        values = np.ones(size, np.float32)
        if len(size) > 1:
            values = rng.standard_normal(size, np.float32)
            values /= np.float32(np.sqrt(size[-1]))
        arrays[name] = values.astype(precision)
    save_file(arrays, file, metadata={"format": "pt"})
    return sum(values.nbytes for values in arrays.values())
