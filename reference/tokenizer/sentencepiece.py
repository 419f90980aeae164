"""Tokenizers stored as `tokenizer.model` (Llama 1 and 2, Mistral, TinyLlama)."""

import re
from functools import cached_property
from typing import Any

from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model
from sentencepiece.sentencepiece_pb2 import SentencePieceText

from reference.tokenizer.files import (
    BYTE_PIECE,
    SENTENCEPIECE_SPACE,
    TokenizerError,
    added_tokens,
    max_text_bytes,
    special_tokens,
)


class SentencePieceTokenizer:
    """A SentencePiece model. Its leading space is put at the very beginning of a text only, not
    after a special token.
    """

    def __init__(self, model: bytes, config: dict[str, Any]) -> None:
        proto = sentencepiece_model.ModelProto.FromString(model)
        piece_types = sentencepiece_model.ModelProto.SentencePiece
        normalizer = proto.normalizer_spec
        if normalizer.remove_extra_whitespaces or not normalizer.escape_whitespaces:
            raise TokenizerError("tokenizer.model: the normalizer drops white space")
        self.leading_space = bool(normalizer.add_dummy_prefix)
        normalizer.add_dummy_prefix = False  # `encode` adds the leading space itself
        self._processor = SentencePieceProcessor(model_proto=proto.SerializeToString())
        added = added_tokens(config)
        names = [p.piece for p in proto.pieces]
        names += [added.get(i, "") for i in range(len(names), max(added, default=-1) + 1)]
        self.vocab_size = len(names)
        not_text = {piece_types.UNKNOWN, piece_types.CONTROL, piece_types.UNUSED}
        control = {i: p.piece for i, p in enumerate(proto.pieces) if p.type in not_text}
        self._names = control | added
        empty = {i for i, name in enumerate(names) if not name}
        self.special_ids = frozenset(control) | special_tokens(config) | empty
        self.added_ids = frozenset(i for i, name in self._names.items() if name)
        self.space_after: frozenset[int] = frozenset()
        self.doubles_space = True
        self._pieces = [self._bytes(i, name) for i, name in enumerate(names)]
        # A normalizer's table may shorten the text, and without byte fallback a run of unknown
        # characters is one token.
        lossless = proto.trainer_spec.byte_fallback and not normalizer.precompiled_charsmap
        self.max_token_bytes = max_text_bytes(self._pieces, False) if lossless else None
        adds_bos = config.get("add_bos_token", True) and proto.trainer_spec.bos_id >= 0
        self.bos_id = proto.trainer_spec.bos_id if adds_bos else None

    def _bytes(self, token: int, name: str) -> bytes:
        """Convert a piece's name in the file to the bytes it adds to the text."""
        if token in self._names:
            return self._names[token].encode()
        if byte := BYTE_PIECE.fullmatch(name):
            return bytes.fromhex(byte[1])
        return name.replace(SENTENCEPIECE_SPACE, " ").encode()

    @cached_property
    def _special(self) -> tuple[re.Pattern[str], dict[str, int]]:
        """A pattern that matches the names of special and added tokens, and the id of each name."""
        ids = {name: i for i, name in self._names.items() if name}
        longest_first = sorted(ids, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")"), ids

    def encode(self, text: str) -> list[int]:
        pattern, special = self._special
        tokens = [] if self.bos_id is None else [self.bos_id]
        for i, part in enumerate(pattern.split(text)):
            if i % 2:
                tokens.append(special[part])
            elif part:
                space = " " if i == 0 and self.leading_space else ""
                tokens += self._processor.encode(space + part)
        return tokens

    def offsets(self, text: str) -> list[int]:
        pattern, _ = self._special
        offsets = [] if self.bos_id is None else [0]
        start = 0
        for i, part in enumerate(pattern.split(text)):
            if i % 2:
                offsets.append(start)
            elif part:
                space = " " if i == 0 and self.leading_space else ""
                offsets += [start + offset for offset in self._part_offsets(space, part)]
            start += len(part)
        return offsets

    def _part_offsets(self, space: str, part: str) -> list[int]:
        """Return the characters of a part at which its tokens begin, if `space` precedes it."""
        encoded = self._processor.encode(space + part, out_type="serialized_proto")
        pieces = SentencePieceText.FromString(encoded).pieces
        chars = [i for i, c in enumerate(part) for _ in c.encode()]  # the character of each byte
        chars = [0] * len(space) + chars + [len(part)]
        return [chars[piece.begin] for piece in pieces]

    def token_bytes(self, token: int) -> bytes:
        return self._pieces[token]
