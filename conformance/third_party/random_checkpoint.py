"""python -m conformance.third_party.random_checkpoint OUT [--seed S]

A small Llama with random weights and the embedded model's tokenizer. What it says is nonsense, but
every layer, head and norm matters to it, and its next token is open: the likeliest has a
probability of about 0.2, the tenth of about 0.02. Some pairs of tokens are as likely as each
other, to the bit, and at some steps no logit is above 0. A trained model of this size is too sure
of itself for a wrong parameter to show, and has no ties.
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
from reference.model.checkpoint import SINGLE
from reference.model.config import LlamaConfig
from reference.model.weights import EMBEDDING, LM_HEAD, expected_tensors

TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")

# 32 is the smallest head that every engine has an attention for.
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

# transformers serve samples only if the model's own defaults say so, whatever the temperature.
GENERATION = {"do_sample": True}

LOGITS = 3.0  # standard deviation of a token's logits
ATTENTION = 2.0  # of q·k / √H: enough to prefer some positions, so that the context matters
SHIFT = -18.0  # of all logits, which no probability depends on, but a repetition penalty does
TIED = range(300, 900, 2)  # each of these tokens has the row of the next in the head
NEVER = 20.0  # how far below the others the logits of tokens are that should not come, about


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.third_party.random_checkpoint")
    parser.add_argument("out", type=Path, help="the directory to write")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write(options.out, options.seed)
    return 0


def write(out: Path, seed: int) -> None:
    """A checkpoint directory; the same seed gives the same weights."""
    source = EMBEDDED / "text"
    config = json.loads((source / "config.json").read_text()) | SHAPE
    tensors = random_tensors(LlamaConfig.from_json(config), no_text(source), seed)
    out.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER:
        shutil.copyfile(source / name, out / name)
    generation = json.loads((source / "generation_config.json").read_text()) | GENERATION
    for name, content in {"config.json": config, "generation_config.json": generation}.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
    save_file(tensors, out / SINGLE, metadata={"format": "pt"})  # transformers reads no other


def no_text(source: Path) -> list[int]:
    """<unk>, <s>, and single bytes: they spell text that is no UTF-8, or that another token spells
    too, and then no two servers name a token alike. The end of a text is a token like any other.
    """
    pieces: Any = SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    return [
        i
        for i in range(pieces.vocab_size())
        if i != pieces.eos_id()
        and (pieces.is_byte(i) or pieces.is_control(i) or pieces.is_unknown(i))
    ]


def random_tensors(config: LlamaConfig, never: list[int], seed: int) -> dict[str, np.ndarray]:
    """The tensors of `expected_tensors`, float32: normal, of a scale that keeps activations near 1.

    There are no biases in the head, so the first of the D coordinates is made to be one: it is 1 in
    every embedding, no layer adds to it, and the head takes from it what all tokens lose, and those
    in `never` above that.
    """
    rng = np.random.default_rng(seed)
    found = {
        name: random_tensor(rng, name, shape).astype(np.float32)
        for name, shape in expected_tensors(config)
    }
    found[EMBEDDING][:, 0] = 1
    for name, tensor in found.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[0] = 0
    found["model.norm.weight"][0] = 1
    found[LM_HEAD][:, 0] = SHIFT
    found[LM_HEAD][never, 0] = SHIFT - NEVER
    found[LM_HEAD][TIED] = found[LM_HEAD][[i + 1 for i in TIED]]
    return found


def random_tensor(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:  # a norm: not all ones, or it would not show if one were left out
        return rng.uniform(0.5, 1.5, shape)
    scale = {"lm_head": LOGITS, "q_proj": ATTENTION, "embed_tokens": np.sqrt(shape[1])}
    factor = scale.get(name.split(".")[-2], 1.0)
    return factor * rng.standard_normal(shape) / np.sqrt(shape[1])


if __name__ == "__main__":
    sys.exit(main())
