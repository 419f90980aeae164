"""Random small checkpoints, and the logits that transformers computes from them in float32.

Each directory `<name>/` has a checkpoint and a `golden.npz` of

    tokens       (T,) int32     the text, from position 0
    rows         (R,) int32     the positions whose logits are stored
    logits       (R, V) float32
    frequencies  (H/2,) float32 RoPE frequencies, in radians per position

`config_defaults.json` has transformers' defaults of absent fields, by model family.
"""

import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    logging,
)

CLASSES = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
}
SMALL = {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "pad_token_id": None,
}


def rope(kind: str = "default", theta: float = 10_000.0, **parameters: float) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": theta, **parameters}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One golden checkpoint. old: the key of the RoPE type in the older format of config.json, or
    None for the newer format. shards: the maximum size of a file.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    family: str = "llama"
    dtype: str = "float32"
    norms: str | None = None
    tokens: int = 24
    rows: int = 24
    old: str | None = None
    shards: str = "1GB"


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
MODELS = {
    "mha": Model(config={"num_key_value_heads": 4}, old="type"),
    "gqa": Model(
        config={"num_attention_heads": 8, "head_dim": 8, "rms_norm_eps": 1e-3}, dtype="float16"
    ),
    "mqa_tied": Model(config={"num_key_value_heads": 1, "tie_word_embeddings": True}, old="type"),
    "biases": Model(config={"attention_bias": True, "mlp_bias": True, "eos_token_id": [2, 5]}),
    "head_dim": Model(config={"head_dim": 10}, old="rope_type"),
    "theta": Model(config={"rope_parameters": rope(theta=123.5)}, tokens=60),
    "linear": Model(config={"rope_parameters": rope("linear", factor=2.5)}, tokens=60, old="type"),
    "llama3": Model(
        config={
            "head_dim": 32,
            "rope_parameters": rope(
                "llama3", theta=500.0, original_max_position_embeddings=64, **LLAMA3
            ),
        },
        dtype="bfloat16",
        tokens=150,
        old="rope_type",
    ),
    "long": Model(config={"num_attention_heads": 2}, tokens=3500, rows=12, old="type"),
    "long_llama3": Model(
        config={
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 64,
            "max_position_embeddings": 131072,
            "rope_parameters": rope(
                "llama3", theta=500_000.0, original_max_position_embeddings=1024, **LLAMA3
            ),
        },
        dtype="bfloat16",
        tokens=3500,
        rows=12,
    ),
    "window": Model(family="mistral", config={"sliding_window": 7}, tokens=40, rows=40),
    "window_off": Model(
        family="mistral", config={"sliding_window": None}, dtype="bfloat16", old="type"
    ),
    "sharded": Model(
        config={"num_hidden_layers": 3}, dtype="bfloat16", norms="float32", shards="4KB"
    ),
}


def make(directory: Path) -> None:
    logging.disable_progress_bar()
    defaults = {family: config().to_dict() for family, (config, _) in CLASSES.items()}
    write_json(directory / "config_defaults.json", defaults)
    for name, model in MODELS.items():
        spread = write(directory / name, model)
        size = sum(path.stat().st_size for path in (directory / name).iterdir())
        print(f"{name:12} {size / 1000:6.1f} kB, logits over {spread:.1f}")


def write(directory: Path, model: Model) -> float:
    """Write one checkpoint and its golden file, and return the range of its logits."""
    rng = np.random.default_rng(zlib.crc32(directory.name.encode()))
    config_class, model_class = CLASSES[model.family]
    made = model_class(config_class(**SMALL | dict(model.config)))
    fill(made, rng)
    made.to(getattr(torch, model.dtype))
    for name, parameter in made.named_parameters():
        if model.norms and name.endswith("norm.weight"):
            parameter.data = parameter.data.to(getattr(torch, model.norms))
    shutil.rmtree(directory, ignore_errors=True)
    made.save_pretrained(directory, max_shard_size=model.shards)
    for path in directory.iterdir():
        path.chmod(0o644)
    if model.old:
        to_older_format(directory / "config.json", model.old)

    read = model_class.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokens = rng.integers(0, made.config.vocab_size, model.tokens)
    with torch.no_grad():
        logits = read(torch.from_numpy(tokens)[None], use_cache=False).logits[0].numpy()
    rows = np.arange(model.tokens - model.rows, model.tokens)
    np.savez(
        directory / "golden.npz",
        tokens=tokens.astype(np.int32),
        rows=rows.astype(np.int32),
        logits=logits[rows],
        frequencies=read.model.rotary_emb.inv_freq.numpy(),
    )
    return float(np.ptp(logits[rows]))


def fill(model: PreTrainedModel, rng: np.random.Generator) -> None:
    """Fill in weights that make attention selective and give the logits a wide range."""
    for name, parameter in model.named_parameters():
        values = rng.standard_normal(parameter.shape)
        if name.endswith("norm.weight"):
            values = 1 + 0.3 * values
        elif parameter.ndim == 2 and "embed" not in name:
            values *= 1.5 / np.sqrt(parameter.shape[1])
        parameter.data = torch.from_numpy(values.astype(np.float32))


def to_older_format(path: Path, kind: str) -> None:
    """Rewrite a config.json in the format of transformers 4."""
    config = json.loads(path.read_text())
    scaling = config.pop("rope_parameters")
    config["rope_theta"] = scaling.pop("rope_theta")
    scaling = {kind: scaling.pop("rope_type"), **scaling}
    config["rope_scaling"] = None if scaling[kind] == "default" else scaling
    config["torch_dtype"] = config.pop("dtype")
    write_json(path, config)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
