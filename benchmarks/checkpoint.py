"""A checkpoint of a real shape with random weights, for all engines."""

import json
import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice, product
from pathlib import Path

import ml_dtypes  # noqa: F401  # registers bfloat16
import numpy as np
from safetensors.numpy import save_file
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from benchmarks.roofline import THREADS
from benchmarks.shapes import config, config_json
from reference.bundle import EMBEDDED
from reference.model.stored_tensors import INDEX
from reference.model.weights import expected_tensors

CONTEXT = 4096
TOKENIZER = "tokenizer.model"
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
LETTERS = "etaoinshrdlucmfw"


def write(directory: Path, shape: str, precision: str = "float32") -> None:
    """Write a checkpoint, unless it exists: normal weights, scaled to keep activations near 1, and
    a tokenizer. One file per layer, and one for the rest.
    """
    if (directory / INDEX).exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    for name in SETTINGS:
        shutil.copyfile(EMBEDDED / "text" / name, directory / name)
    (directory / TOKENIZER).write_bytes(tokenizer(config(shape).vocab_size))
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


def tokenizer(vocab_size: int) -> bytes:
    """Return the embedded model's tokenizer with further words, so that each token of a random
    model has a text, which a server has to detokenize and to send.
    """
    path = EMBEDDED / "text" / TOKENIZER
    model = sentencepiece_model.ModelProto.FromString(path.read_bytes())
    known = {piece.piece for piece in model.pieces}
    words = ("".join(w) for n in count(3) for w in product(LETTERS, repeat=n))
    new = (piece for word in words for piece in (word, f"▁{word}") if piece not in known)
    score = min(piece.score for piece in model.pieces)
    for i, piece in enumerate(islice(new, vocab_size - len(model.pieces)), 1):
        model.pieces.add(piece=piece, score=score - i)
    model.trainer_spec.vocab_size = len(model.pieces)
    return bytes(model.SerializeToString())


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
