"""Parsing of tokenizer files: JSON objects, and the parts of a `tokenizer.json`."""

import json
import re
from collections.abc import Iterator, Mapping
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
