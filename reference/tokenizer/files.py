"""Parsing of tokenizer files: JSON objects, and the parts of a `tokenizer.json`."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SENTENCEPIECE_SPACE = "▁"  # how SentencePiece writes a space
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenizerError(ValueError):
    """A tokenizer file is missing, invalid, or of a kind that cannot encode text without loss."""


@contextmanager
def errors_in(file: str | Path) -> Iterator[None]:
    """Raise a ValueError as a TokenizerError that names the file."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{file}: {error}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file does not exist. Raises TokenizerError."""
    with errors_in(path):
        value = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
    return value


def is_byte_level(decoder: Mapping[str, Any] | None) -> bool:
    """Return whether pieces are written in GPT-2's byte alphabet (True) or SentencePiece's (False).
    Raises TokenizerError for any other.
    """
    kinds = {d["type"] for d in [decoder or {"type": None}, *(decoder or {}).get("decoders", [])]}
    if "ByteLevel" in kinds:
        return True
    if kinds & {"ByteFallback", "Metaspace"}:
        return False
    raise TokenizerError(f"tokenizer.json: decoder {sorted(map(str, kinds))} is not supported")


def gpt2_alphabet() -> dict[str, int]:
    """Return the byte that each character of a byte-level piece represents.

    A printable Latin-1 character represents its own code; the other bytes are represented, in
    order, by U+0100 and the characters after it.

    Source: Radford et al. 2019 (GPT-2), section 2.2, and `bytes_to_unicode` in its code.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(0x100) if b not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


BYTE_OF = gpt2_alphabet()


# Upper bounds on the number of text bytes per token, with which oversized prompts are rejected.


def max_text_bytes(pieces: Iterable[bytes], byte_level: bool) -> int:
    """Return the maximum number of text bytes that one piece can encode. A space of SentencePiece
    may come from a "▁" in the text, which has three bytes.
    """
    space = b" " if byte_level else SENTENCEPIECE_SPACE.encode()
    return max(len(piece.replace(b" ", space)) for piece in pieces)


def is_lossless(spec: Mapping[str, Any], byte_level: bool) -> bool:
    """Return whether a tokenizer.json encodes each byte of a text in some piece, outside of added
    tokens.

    That fails if a normalizer shortens the text (NFKC, Strip), if spaces are dropped between words,
    or if a run of unknown characters becomes one token.
    """
    model = spec["model"]
    alphabet = BYTE_OF if byte_level else [f"<0x{b:02X}>" for b in range(256)]
    return (
        all(map(keeps_length, flatten_sequence(spec.get("normalizer"), "normalizers")))
        and all(map(keeps_all_text, flatten_sequence(spec.get("pre_tokenizer"), "pretokenizers")))
        and model.get("type") == "BPE"
        and bool(byte_level or model.get("byte_fallback"))
        and all(piece in model["vocab"] for piece in alphabet)
    )


def flatten_sequence(step: Mapping[str, Any] | None, field: str) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a `Sequence`, the step itself if it is not one, or nothing for None.
    field: the field that lists the steps.
    """
    if step is not None and step["type"] == "Sequence":
        for inner in step[field]:
            yield from flatten_sequence(inner, field)
    elif step is not None:
        yield step


def is_space_escape(normalizer: Mapping[str, Any]) -> bool:
    """Return whether a normalizer writes spaces as "▁", or puts one before the text."""
    if normalizer["type"] == "Replace":
        return bool(normalizer["pattern"].get("String") == " ")
    return bool(normalizer["type"] == "Prepend")


def keeps_length(normalizer: Mapping[str, Any]) -> bool:
    """Return whether a normalizer never shortens a text."""
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"].get("String")
        return pattern is not None and len(pattern.encode()) <= len(normalizer["content"].encode())
    return normalizer["type"] == "Prepend"


def keeps_all_text(pre_tokenizer: Mapping[str, Any]) -> bool:
    """Return whether a pre-tokenizer never drops a part of the text."""
    if pre_tokenizer["type"] == "Split":
        return pre_tokenizer["behavior"] != "Removed"
    return pre_tokenizer["type"] in ("ByteLevel", "Metaspace", "Digits")
