"""Tokenizers stored as `tokenizer.model` (Llama 1 and 2, Mistral, TinyLlama)."""

import re
from functools import cached_property
from typing import Any

from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from reference.tokenizer.files import (
    BYTE_PIECE,
    SPACE,
    TokenizerError,
    added_tokens,
    longest,
    special_tokens,
)


class SentencePieceTokenizer:
    """A SentencePiece model. The space it puts before a text is put at the very beginning only, not
    after a special token.
    """

    def __init__(self, model: bytes, config: dict[str, Any]) -> None:
        proto = sentencepiece_model.ModelProto.FromString(model)
        kinds = sentencepiece_model.ModelProto.SentencePiece
        normalizer = proto.normalizer_spec
        if normalizer.remove_extra_whitespaces or not normalizer.escape_whitespaces:
            raise TokenizerError("tokenizer.model: its normalizer loses white space")
        self.leading_space = bool(normalizer.add_dummy_prefix)
        normalizer.add_dummy_prefix = False
        self._processor = SentencePieceProcessor(model_proto=proto.SerializeToString())
        added = added_tokens(config)
        names = [p.piece for p in proto.pieces]
        names += [added.get(i, "") for i in range(len(names), max(added, default=-1) + 1)]
        self.vocab_size = len(names)
        not_text = {kinds.UNKNOWN, kinds.CONTROL, kinds.UNUSED}
        control = {i: p.piece for i, p in enumerate(proto.pieces) if p.type in not_text}
        self._names = control | added
        empty = {i for i, name in enumerate(names) if not name}
        self.special_ids = frozenset(control) | special_tokens(config) | empty
        self._pieces = [self._bytes(i, name) for i, name in enumerate(names)]
        # A normalizer's table may shorten the text, and without bytes to fall back on any number of
        # unknown characters are one token.
        exact = proto.trainer_spec.byte_fallback and not normalizer.precompiled_charsmap
        self.max_token_bytes = longest(self._pieces, False) if exact else None
        adds_bos = config.get("add_bos_token", True) and proto.trainer_spec.bos_id >= 0
        self.bos_id = proto.trainer_spec.bos_id if adds_bos else None

    def _bytes(self, token: int, name: str) -> bytes:
        if token in self._names:
            return self._names[token].encode()
        if byte := BYTE_PIECE.fullmatch(name):
            return bytes.fromhex(byte[1])
        return name.replace(SPACE, " ").encode()

    @cached_property
    def _special(self) -> tuple[re.Pattern[str], dict[str, int]]:
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

    def piece(self, token: int) -> bytes:
        return self._pieces[token]
