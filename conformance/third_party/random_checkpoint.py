"""python -m conformance.third_party.random_checkpoint OUT [--seed S]

A small Llama with random weights and the embedded model's tokenizer. Its text is nonsense, but
every layer, head and norm affects it, and its distributions are flat: the most likely token has a
probability of about 0.2, the tenth of about 0.02. Some pairs of tokens have bitwise identical
logits, and at some steps no logit is above 0. A trained model of this size is too certain for a
wrong parameter to show, and has no ties.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from sentencepiece import SentencePieceProcessor

from reference.bundle import EMBEDDED
from reference.model.config import LlamaConfig
from reference.model.stored_tensors import SINGLE
from reference.model.weights import EMBEDDING, LM_HEAD, expected_tensors

TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")

# Every engine has an attention kernel for this head size; 32 is the smallest such size.
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}

# transformers serve samples only if the model's own defaults enable it, whatever the temperature.
GENERATION = {"do_sample": True}

LOGITS = 3.0  # standard deviation of a token's logits
ATTENTION = 2.0  # of q·k / √H: not uniform, so that the context matters
SHIFT = -18.0  # of all logits: only a repetition penalty depends on it
TIED = range(300, 900, 2)  # each of these tokens shares its row of the head with the next
SUPPRESSION = 20.0  # subtracted from the logits of tokens that must not be sampled


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.third_party.random_checkpoint")
    parser.add_argument("out", type=Path, help="the directory to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write(options.out, options.seed)
    return 0


def write(out: Path, seed: int) -> None:
    """Write a checkpoint directory; the same seed gives the same weights."""
    source = EMBEDDED / "text"
    config = json.loads((source / "config.json").read_text()) | SHAPE
    tensors = random_tensors(LlamaConfig.from_json(config), non_text_ids(source), seed)
    out.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copyfile(source / name, out / name)
    generation = json.loads((source / "generation_config.json").read_text()) | GENERATION
    for name, content in {"config.json": config, "generation_config.json": generation}.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    save_file(tensors, out / SINGLE, metadata={"format": "pt"})  # transformers requires it


def non_text_ids(source: Path) -> list[int]:
    """Return the ids of <unk>, <s> and single bytes.

    Their text is not valid UTF-8, or is also that of another token, so servers report different
    token strings. The end-of-sequence token is not among them.
    """
    pieces: Any = SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    return [
        i
        for i in range(pieces.vocab_size())
        if i != pieces.eos_id()
        and (pieces.is_byte(i) or pieces.is_control(i) or pieces.is_unknown(i))
    ]


def random_tensors(config: LlamaConfig, suppressed: list[int], seed: int) -> dict[str, np.ndarray]:
    """Return the tensors of `expected_tensors`, float32: normal, with activations of about 1.

    The head has no bias, so the first of the D coordinates serves as one: it is 1 in every
    embedding, no layer changes it, and the head multiplies it by the shift of all logits, and of
    those in `suppressed`.
    """
    rng = np.random.default_rng(seed)
    weights = {
        name: random_tensor(rng, name, shape).astype(np.float32)
        for name, shape in expected_tensors(config)
    }
    weights[EMBEDDING][:, 0] = 1
    for name, tensor in weights.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[0] = 0
    weights["model.norm.weight"][0] = 1
    weights[LM_HEAD][:, 0] = SHIFT
    weights[LM_HEAD][suppressed, 0] = SHIFT - SUPPRESSION
    weights[LM_HEAD][TIED] = weights[LM_HEAD][[i + 1 for i in TIED]]
    return weights


def random_tensor(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:  # a norm: with all ones, omitting it would have no effect
        return rng.uniform(0.5, 1.5, shape)
    scale = {"lm_head": LOGITS, "q_proj": ATTENTION, "embed_tokens": np.sqrt(shape[1])}
    factor = scale.get(name.split(".")[-2], 1.0)
    return factor * rng.standard_normal(shape) / np.sqrt(shape[1])


if __name__ == "__main__":
    sys.exit(main())
