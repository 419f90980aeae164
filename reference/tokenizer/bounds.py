"""Upper bounds on the number of text bytes per token.

With them `reference.input_limits` refuses oversized prompts before they are tokenized.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from reference.tokenizer.files import BYTE_OF, SENTENCEPIECE_SPACE, flatten_sequence


@runtime_checkable
class HasMaxTokenBytes(Protocol):
    """A tokenizer that knows the maximum number of text bytes per token. None: unbounded."""

    max_token_bytes: int | None


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
