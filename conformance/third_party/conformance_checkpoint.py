"""A small checkpoint to serve with any engine, made so that every check has a result.

Its distributions are flat, some pairs of tokens have identical logits, at some steps no logit is
above 0, single bytes are likely, and several tokens have the same string. It is not stored: each
weight is a function of its position, computed in integers from the bits of Threefry, so it is the
same on every machine. A weight has 8 significant bits at most, so float32, float16 and bfloat16
represent it exactly: engines differ only in their arithmetic.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from conformance.third_party.tokenizer_json import write_tokenizer_json
from reference.bundle import EMBEDDED
from reference.model.config import LlamaConfig
from reference.model.stored_tensors import SINGLE
from reference.model.weights import LM_HEAD, expected_tensors
from reference.threefry import fold_in, random_bits, seed_key

TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
SEED = 30  # of this decision
# Every engine has an attention kernel for this head size.
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
# transformers serve samples only if the model's own defaults enable it, whatever the temperature.
GENERATION = {"do_sample": True}

UNIFORM_BITS, NUM_UNIFORM = 8, 12  # the sum of 12 uniform numbers is nearly normal
LEVELS = 16  # values per standard deviation: 7 bits for ±4 of them, with the sign
TIED = range(300, 900, 2)  # each of these tokens shares its row of the head with the next
SPECIAL = slice(0, 3)  # their rows are 0: their logits are average, because few may be sampled
LOGIT_SHIFT = 1.5  # of the head, per coordinate: all logits of a step move together
MEAN_OF_LAST_NORM = 0.75  # flattens the distributions


def write(out: Path) -> None:
    """Write the checkpoint directory, with both formats of the tokenizer."""
    source = EMBEDDED / "text"
    config = json.loads((source / "config.json").read_text()) | SHAPE
    out.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copyfile(source / name, out / name)
    write_tokenizer_json(out)
    generation = json.loads((source / "generation_config.json").read_text()) | GENERATION
    for name, content in {"config.json": config, "generation_config.json": generation}.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    save_file(tensors(config), out / SINGLE, metadata={"format": "pt"})  # transformers requires it


def tensors(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the tensors of `expected_tensors`, in float16, which holds them exactly."""
    weights = {
        name: tensor(index, name, shape)
        for index, (name, shape) in enumerate(expected_tensors(LlamaConfig.from_json(config)))
    }
    head = weights[LM_HEAD]
    head[list(TIED)] = head[[i + 1 for i in TIED]]
    head[SPECIAL] = 0
    # The same for each row: no probability depends on it, but the sign of the logits does.
    head += LOGIT_SHIFT * normal_levels(len(weights), head.shape[1]) / LEVELS
    return {name: exact_float16(value) for name, value in weights.items()}


def tensor(index: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return one tensor in float64, exactly: normal numbers times a power of two."""
    levels = normal_levels(index, int(np.prod(shape))).reshape(shape) / LEVELS
    if len(shape) == 1:  # a norm: with all ones, omitting it would have no effect
        mean = MEAN_OF_LAST_NORM if name == "model.norm.weight" else 1.0
        return mean + levels / 8
    scale = {"lm_head": 0.5, "embed_tokens": 1.0, "down_proj": 2**-4}
    return levels * scale.get(name.split(".")[-2], 2**-3)


def normal_levels(index: int, count: int) -> np.ndarray:
    """Return nearly normal integers with a standard deviation of `LEVELS`, from −63 to 63."""
    words = random_bits(fold_in(seed_key(SEED), index), count * NUM_UNIFORM // 4)
    parts = words.view(np.uint8).reshape(count, NUM_UNIFORM).astype(np.int64)
    centered = 2 * parts.sum(1) - NUM_UNIFORM * (2**UNIFORM_BITS - 1)
    # The sum of 12 numbers below 256, doubled, has a standard deviation of 512.
    return np.clip(np.rint(centered / (512 / LEVELS)), -63, 63)


def exact_float16(value: np.ndarray) -> np.ndarray:
    """Convert numbers to float16. Raises ValueError if one of them changes."""
    converted = value.astype(np.float16)
    if not np.array_equal(converted.astype(np.float64), value):
        raise ValueError("a weight is not a float16")
    return converted
