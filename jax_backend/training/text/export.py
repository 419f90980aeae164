"""Export of the trained model as a Hugging Face directory."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from jax_backend.training.text.model import BOS, EOS, UNK, Shape, Tensors


def export(out: Path, shape: Shape, weights: Tensors, tokenizer: bytes) -> None:
    """Write config, generation config, tokenizer and weights (bfloat16) into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    stored = {k: np.asarray(v).astype(ml_dtypes.bfloat16) for k, v in weights.items()}
    save_file(stored, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    (out / "tokenizer.model").write_bytes(tokenizer)
    write(out / "config.json", config(shape))
    write(out / "generation_config.json", {"bos_token_id": BOS, "eos_token_id": EOS})
    write(out / "tokenizer_config.json", tokenizer_config(shape))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    write(out / "special_tokens_map.json", names)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def config(s: Shape) -> dict[str, Any]:
    """Return config.json."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": s.vocab_size,
        "hidden_size": s.model,
        "intermediate_size": s.ffn,
        "num_hidden_layers": s.layers,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads,
        "head_dim": s.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": s.context,
        "rms_norm_eps": s.eps,
        "rope_theta": s.theta,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "initializer_range": 0.05,
        "use_cache": True,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "torch_dtype": "bfloat16",
    }


def special(name: str) -> dict[str, Any]:
    """Return the entry of a special token in tokenizer_config.json."""
    flags = dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False)
    return {"content": name, "special": True} | flags


def tokenizer_config(s: Shape) -> dict[str, Any]:
    """Return tokenizer_config.json."""
    return {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": {
            str(i): special(name) for i, name in ((UNK, "<unk>"), (BOS, "<s>"), (EOS, "</s>"))
        },
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": s.context,
        "sp_model_kwargs": {},
    }
