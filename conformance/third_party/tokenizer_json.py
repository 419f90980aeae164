"""Writes a SentencePiece BPE model as `tokenizer.json`, for engines that read no other format.

The ids are those of tokenizer.model, except after a special token inside a text: there the format
can only prepend another space, or else drop the space that SentencePiece prepends to a space.
"""

import json
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

SPACE = "▁"
FILE = "tokenizer.json"


def write_tokenizer_json(directory: Path) -> None:
    """Write the tokenizer.json of a directory with the tokenizer.model of a BPE."""
    model = SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    (directory / FILE).write_text(json.dumps(converted(model), ensure_ascii=False), "utf-8")


def converted(model: Any) -> dict[str, Any]:
    """Return the contents: SentencePiece prepends a space, and escapes every space."""
    pieces = [model.id_to_piece(i) for i in range(model.vocab_size())]
    special = [
        added_token(i, piece)
        for i, piece in enumerate(pieces)
        if model.is_control(i) or model.is_unknown(i)
    ]
    bos = pieces[model.bos_id()]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": template(bos, model.bos_id()),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces[model.unk_id()],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": merges(model),
        },
    }


def merges(model: Any) -> list[list[str]]:
    """Return every way to make a piece of two others, the piece with the highest score first."""
    scores = {
        model.id_to_piece(i): model.get_score(i)
        for i in range(model.vocab_size())
        if not (model.is_byte(i) or model.is_control(i) or model.is_unknown(i))
    }
    pairs = [
        (-score, i, piece[:i], piece[i:])
        for piece, score in scores.items()
        for i in range(1, len(piece))
        if piece[:i] in scores and piece[i:] in scores
    ]
    return [[left, right] for _, _, left, right in sorted(pairs)]


def added_token(token: int, content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": content, **flags, "special": True}


def template(bos: str, token: int) -> dict[str, Any]:
    """Return the post-processor that begins a text with BOS."""
    first = {"SpecialToken": {"id": bos, "type_id": 0}}
    second = {"SpecialToken": {"id": bos, "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [
            first,
            {"Sequence": {"id": "A", "type_id": 0}},
            second,
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {bos: {"id": bos, "ids": [token], "tokens": [bos]}},
    }
