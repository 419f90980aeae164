"""Token ids and greedy outputs of transformers with the embedded text model.

`tokenizer.json`: {text: ids} of the hard texts. `greedy.json`: {prompt: ids of the next 64 tokens}.

One setting is changed. The Llama tokenizer that transformers 5 builds from `tokenizer.model`
encodes " a" like "a". SentencePiece does not, nor does the `tokenizer.json` of Llama 2: both always
put a "▁" before the text. The hard texts are encoded in this way.
"""

import json
from pathlib import Path

import torch
from tokenizers import normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.texts import HARD_TEXTS

ROOT = Path(__file__).parents[2]
PROMPTS = [
    "Once upon a time",
    "Once upon a time, there was a brave girl named Mia.",
    "Once upon a time, a little boy named Tom lived near the park.",
    "One rainy day,",
    "There was once a clever",
    "Write a JSON record of a person.",
    "Write a JSON record of a person named Leo.",
    "Write a JSON record of a library in Oakville.",
    "Write a JSON record of a red kite.",
    "Write a JSON record of a thing.",
    "List three toys.",
    "List five colours.",
    "Make a list of four jobs.",
    "Q: What sound does a cow make?",
    "Q: What is 3 plus 4?",
    "Q: Which day comes after Sunday?\nA:",
    "The",
    "",
    "She was very",
    "12345 naïve 👩‍👩‍👧‍👦",
]


def make(directory: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "reference/embedded/text")
    model = AutoModelForCausalLM.from_pretrained(
        ROOT / "reference/embedded/text", dtype=torch.float32
    ).eval()
    write(directory / "greedy.json", {p: greedy(model, tokenizer(p).input_ids) for p in PROMPTS})
    tokenizer.backend_tokenizer.pre_tokenizer = None
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    write(directory / "tokenizer.json", {text: tokenizer(text).input_ids for text in HARD_TEXTS})


def greedy(model: torch.nn.Module, ids: list[int]) -> list[int]:
    """Generate 64 tokens, or fewer up to and including the end-of-sequence."""
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids)),
        do_sample=False,
        max_new_tokens=64,
    )
    return out[0, len(ids) :].tolist()


def write(path: Path, content: dict[str, list[int]]) -> None:
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in content.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path.name:12} {len(content)} texts")
