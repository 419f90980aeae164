"""Tokenizer files for tests: small vocabularies in both formats, and directories that hold them."""

import io
import json
from pathlib import Path
from typing import Any

import tokenizers
from sentencepiece import SentencePieceTrainer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from reference.bundle import EMBEDDED

WORDS = ["the cat sat on the mat", "once upon a time there was a cat", "naïve café 12 345"]
SENTENCEPIECE = (EMBEDDED / "text" / "tokenizer.model").read_bytes()


def byte_level_file(template: str = "<|begin|> $A") -> str:
    """A tokenizer.json like Llama 3's. template: what the post-processor adds to a text."""
    t = tokenizers.Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    t.train_from_iterator(WORDS, trainer)
    t.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(name, t.token_to_id(name)) for name in special]
    )
    return str(t.to_str())


def metaspace_file() -> str:
    """A tokenizer.json like Llama 2's: spaces as ▁, byte fallback."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{b:02X}>" for b in range(256)),
        "▁",
        *"abc",
        "▁a",
        "ab",
    ]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("a", "b")]
    t = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    return str(t.to_str())


def normalizing_sentencepiece() -> bytes:
    """A tokenizer.model that applies NFKC to a text."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS * 20),
        model_writer=model,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="nfkc",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


def token_entry(content: str, **flags: bool) -> dict[str, Any]:
    """An added token as tokenizer.json and tokenizer_config.json write it, without its id."""
    neutral = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"content": content, **neutral, "special": False, **flags}


def write_tokenizer(
    directory: Path, tokenizer: bytes | str, **files: dict[str, Any] | None
) -> Path:
    """Write a tokenizer.model (bytes) or tokenizer.json (text), and JSON files by their names
    without the suffix.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(tokenizer, bytes):
        (directory / "tokenizer.model").write_bytes(tokenizer)
    else:
        (directory / "tokenizer.json").write_text(tokenizer, "utf-8")
    for name, content in files.items():
        if content is not None:
            (directory / f"{name}.json").write_text(json.dumps(content), "utf-8")
    return directory
