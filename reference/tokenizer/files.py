"""What the files of a tokenizer say, before there is a tokenizer: `tokenizer_config.json`, and the
parts of a `tokenizer.json`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SPACE = "▁"  # how SentencePiece writes a space
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenizerError(ValueError):
    """A tokenizer's file is missing, broken or of a kind that cannot be read without loss."""


def read_config(path: Path) -> dict[str, Any]:
    """A tokenizer_config.json, empty if there is none. Raises TokenizerError, naming the file."""
    try:
        config = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if not isinstance(config, dict):
            raise ValueError("not a JSON object")
        added_tokens(config), special_tokens(config), token_name(config.get("bos_token"))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path}: {error}") from error
    return config


def decoder_of(config: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """`added_tokens_decoder`: the tokens added to those of the model's file, by id."""
    decoder = config.get("added_tokens_decoder") or {}
    try:
        return {int(i): {"special": False} | token for i, token in decoder.items()}
    except (AttributeError, TypeError):
        raise ValueError("added_tokens_decoder: not an object of objects") from None


def added_tokens(config: Mapping[str, Any]) -> dict[int, str]:
    """The text of each added token."""
    found: dict[int, str] = {}
    for i, token in decoder_of(config).items():
        if i < 0 or not isinstance(token.get("content"), str):
            raise ValueError(f"added_tokens_decoder: {i}: not an id with its content")
        found[i] = token["content"]
    return found


def special_tokens(config: Mapping[str, Any]) -> frozenset[int]:
    """The added tokens that are no text."""
    return frozenset(i for i, token in decoder_of(config).items() if token["special"])


def token_name(token: Any) -> str | None:
    """The text of a token as a tokenizer_config.json writes it: a string, or an object with
    `content`; null for none.
    """
    name = token.get("content") if isinstance(token, dict) else token
    if token is not None and not isinstance(name, str):
        raise ValueError(f"bos_token: {token!r} is no token")
    return name


def is_byte_level(decoder: Mapping[str, Any] | None) -> bool:
    """Whether pieces are written in GPT-2's alphabet; False for SentencePiece's. Raises
    TokenizerError for another.
    """
    kinds = {d["type"] for d in [decoder or {"type": None}, *(decoder or {}).get("decoders", [])]}
    if "ByteLevel" in kinds:
        return True
    if kinds & {"ByteFallback", "Metaspace"}:
        return False
    raise TokenizerError(f"tokenizer.json: decoder {sorted(map(str, kinds))} is not supported")


def gpt2_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level piece stands for: printable Latin-1 for itself,
    the rest from U+0100.

    Source: Radford et al. 2019 (GPT-2), section 2.2, and the files of its kind.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(0x100) if b not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


BYTE_OF = gpt2_alphabet()


# How much text a token stands for.


def longest(pieces: Iterable[bytes], byte_level: bool) -> int:
    """The most bytes of text that one of these pieces stands for. SentencePiece's space is also
    what "▁" in a text becomes, which has three bytes.
    """
    space = b" " if byte_level else SPACE.encode()
    return max(len(piece.replace(b" ", space)) for piece in pieces)


def keeps_every_byte(spec: Mapping[str, Any], byte_level: bool) -> bool:
    """Whether each byte of a text is one of the bytes of some piece, by its tokenizer.json.

    It is not so if a normalizer shortens the text (NFKC, Strip), if spaces are dropped between
    words or swallowed by an added token beside them, or if unknown characters, however many, become
    one token.
    """
    model = spec["model"]
    alphabet = BYTE_OF if byte_level else [f"<0x{b:02X}>" for b in range(256)]
    return (
        all(map(never_shortens, parts(spec.get("normalizer"), "normalizers")))
        and all(map(drops_nothing, parts(spec.get("pre_tokenizer"), "pretokenizers")))
        and not any(t.get("lstrip") or t.get("rstrip") for t in spec.get("added_tokens") or [])
        and model.get("type") == "BPE"
        and bool(byte_level or model.get("byte_fallback"))
        and all(piece in model["vocab"] for piece in alphabet)
    )


def parts(step: Mapping[str, Any] | None, name: str) -> Iterator[Mapping[str, Any]]:
    """The steps of a sequence, or the only one, or none. name: of the field that lists them."""
    if step is not None and step["type"] == "Sequence":
        for inner in step[name]:
            yield from parts(inner, name)
    elif step is not None:
        yield step


def never_shortens(normalizer: Mapping[str, Any]) -> bool:
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"].get("String")
        return pattern is not None and len(pattern.encode()) <= len(normalizer["content"].encode())
    return normalizer["type"] == "Prepend"


def drops_nothing(pre_tokenizer: Mapping[str, Any]) -> bool:
    if pre_tokenizer["type"] == "Split":
        return pre_tokenizer["behavior"] != "Removed"
    return pre_tokenizer["type"] in ("ByteLevel", "Metaspace", "Digits")
