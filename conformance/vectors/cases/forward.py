"""Logits of small models with random weights. Each is a checkpoint in Hugging Face format."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from conformance.vectors.cases.build import normal, uniform
from conformance.vectors.families import IDS, LOGITS, MODEL_RULE, TEXT, Family, array_of
from conformance.vectors.folder import folder
from conformance.vectors.lines import Case, rounded
from conformance.vectors.reference import ROWS, model_logits
from reference.model.checkpoint import read_config
from reference.model.stored_tensors import SINGLE
from reference.model.weights import expected_tensors

ROOT = "forward"
LOGIT_DIGITS = 7
SMALL: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "float32",
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: Mapping[str, dict[str, Any]] = {
    "grouped-query": {},
    "multi-head": {"num_key_value_heads": 4},
    "multi-query-tied": {"num_key_value_heads": 1, "tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "head-dim": {"head_dim": 6, "rms_norm_eps": 1e-3},
    "rope-theta": {"rope_theta": 123.5},
    "rope-linear": {"rope_scaling": {"rope_type": "linear", "factor": 2.5}},
    "rope-llama3": {"rope_theta": 500.0, "rope_scaling": LLAMA3},
    "sliding-window": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "sliding_window": 5,
    },
    "bfloat16": {"torch_dtype": "bfloat16"},
}
LENGTHS = {"one": 1, "short": 6, "long": 40}


def write_checkpoints(directory: Path) -> None:
    """Write the directories of all models below `directory`."""
    for seed, (name, changes) in enumerate(MODELS.items()):
        out = directory / ROOT / name
        out.mkdir(parents=True, exist_ok=True)
        config = dict(SMALL) | changes
        (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        shapes = expected_tensors(read_config(out))
        dtype = ml_dtypes.bfloat16 if config["torch_dtype"] == "bfloat16" else np.float32
        tensors = {
            tensor: random_tensor(1000 * (seed + 1) + i, tensor, shape).astype(dtype)
            for i, (tensor, shape) in enumerate(shapes)
        }
        save_file(tensors, out / SINGLE, metadata={"format": "pt"})


def random_tensor(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a tensor that keeps activations near 1, by exact arithmetic."""
    size = int(np.prod(shape))
    if name.endswith("norm.weight"):
        return (0.5 + uniform(seed, size)).reshape(shape).astype(np.float32)
    scale = 1.0 if len(shape) == 1 or "embed" in name else shape[1] ** -0.5
    return normal(seed, size, scale, grid=2**-12).reshape(shape)


def cases() -> Iterator[Case]:
    for seed, name in enumerate(MODELS):
        for length, count in LENGTHS.items():
            ids = (uniform(seed + 9000, count) * SMALL["vocab_size"]).astype(int).tolist()
            # In float64: the digits do not depend on the order of the sums.
            logits = model_logits(folder() / ROOT / name, ids, np.float64)
            yield Case(
                id=f"forward/{name}-{length}",
                input={"checkpoint": f"{ROOT}/{name}", "ids": ids},
                expect={"logits": [rounded(row, LOGIT_DIGITS) for row in logits[-ROWS:]]},
                comment="" if count <= ROWS else f"The rows of the last {ROWS} tokens.",
            )


FAMILIES = (
    Family(
        name="forward",
        function="model.llama.hidden_states",
        statement=f"The logits after each of the last {ROWS} tokens, by a checkpoint directory.",
        compare={"logits": MODEL_RULE},
        input={"checkpoint": TEXT, "ids": IDS},
        expect={"logits": array_of(LOGITS)},
        cases=cases,
        files=tuple(f"{ROOT}/{name}/{file}" for name in MODELS for file in ("config.json", SINGLE)),
    ),
)
