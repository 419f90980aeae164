"""A checkpoint whose logits do not depend on the prompt."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from reference.model.config import LlamaConfig
from reference.model.stored_tensors import SINGLE
from reference.model.weights import EMBEDDING, LM_HEAD, expected_tensors

D = 8
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": D,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def write(directory: Path, logits: Sequence[float] | np.ndarray, eos: int) -> None:
    """Write a checkpoint with these logits at every position, up to rounding. All tokens have the
    same embedding, the layers add nothing to it, and the head has one nonzero column.
    """
    config = CONFIG | {"vocab_size": len(logits), "eos_token_id": eos, "bos_token_id": None}
    shapes = expected_tensors(LlamaConfig.from_json(config))
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes}
    tensors[EMBEDDING][:, 0] = 1
    tensors["model.norm.weight"][:] = 1
    tensors[LM_HEAD][:, 0] = np.asarray(logits) / np.sqrt(D)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / SINGLE)
