"""Tokenizers stored as `tokenizer.model` (Llama 1 and 2, Mistral, TinyLlama)."""

from typing import Any

import tokenizers
import tokenizers.models
import tokenizers.normalizers
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model
from sentencepiece.sentencepiece_pb2 import SentencePieceText

from reference.tokenizer.added_tokens import (
    AddedToken,
    AddedTokens,
    adds_bos,
    find_bos,
    merge,
    parse_decoder,
    with_roles,
)
from reference.tokenizer.bounds import max_text_bytes
from reference.tokenizer.files import BYTE_PIECE, SENTENCEPIECE_SPACE, TokenizerError


class SentencePieceTokenizer:
    """A SentencePiece model. Its leading space is put at the very beginning of a text only, not
    after a special token.

    config: tokenizer_config.json. added: the added tokens of every file; None: those of the config.
    """

    def __init__(
        self, model: bytes, config: dict[str, Any], added: AddedTokens | None = None
    ) -> None:
        proto = sentencepiece_model.ModelProto.FromString(model)
        piece_types = sentencepiece_model.ModelProto.SentencePiece
        normalizer = proto.normalizer_spec
        if normalizer.remove_extra_whitespaces or not normalizer.escape_whitespaces:
            raise TokenizerError("tokenizer.model: the normalizer drops white space")
        self.leading_space = bool(normalizer.add_dummy_prefix)
        normalizer.add_dummy_prefix = False  # `encode` adds the leading space itself
        self._processor = SentencePieceProcessor(model_proto=proto.SerializeToString())
        not_text = {piece_types.UNKNOWN, piece_types.CONTROL, piece_types.UNUSED}
        control = {
            i: AddedToken(p.piece, special=True)
            for i, p in enumerate(proto.pieces)
            if p.type in not_text
        }
        vocabulary = {p.piece: i for i, p in enumerate(proto.pieces)}
        added = merge({}, parse_decoder(config)) if added is None else added
        added = with_roles(added, config, vocabulary, replaceable=control)
        # "▁" in an added token is a space if the model may generate the token as a piece.
        named = {i: t for i, t in added.items() if t.special or i >= len(proto.pieces)}
        self._names = {i: token.content for i, token in (control | named).items()}
        self.vocab_size = max([len(proto.pieces), *(i + 1 for i in added)])
        names = [p.piece for p in proto.pieces] + [""] * (self.vocab_size - len(proto.pieces))
        self._pieces = [self._bytes(i, name) for i, name in enumerate(names)]
        special = {i for i, token in added.items() if token.special}
        gaps = {i for i, piece in enumerate(self._pieces) if not piece}
        self.special_ids = frozenset(control.keys() | special | gaps)
        matched = control | added
        self.added_ids = frozenset(i for i, token in matched.items() if token.content)
        self.space_after: frozenset[int] = frozenset()
        self.doubles_space = True
        self._matcher = AddedTokenMatcher(matched, normalizer.precompiled_charsmap)
        # A normalizer's table may shorten the text, without byte fallback a run of unknown
        # characters is one token, and an added token may include any amount of white space.
        lossless = (
            proto.trainer_spec.byte_fallback
            and not normalizer.precompiled_charsmap
            and not any(token.lstrip or token.rstrip for token in added.values())
        )
        self.max_token_bytes = max_text_bytes(self._pieces, False) if lossless else None
        trained = proto.trainer_spec.bos_id
        bos = find_bos(config, added, trained if trained >= 0 else None)
        self.bos_id = None if adds_bos(config) is False else bos

    def _bytes(self, token: int, name: str) -> bytes:
        """Convert a piece's name in the file to the bytes it adds to the text."""
        if token in self._names:
            return self._names[token].encode()
        if byte := BYTE_PIECE.fullmatch(name):
            return bytes.fromhex(byte[1])
        return name.replace(SENTENCEPIECE_SPACE, " ").encode()

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        segments, bos_length = self._split(text)
        tokens = [self.bos_id] if self.bos_id is not None and (add_bos or bos_length) else []
        for i, (token, part) in enumerate(segments):
            if token is None:
                space = " " if i == 0 and self.leading_space else ""
                tokens += self._processor.encode(space + part)
            else:
                tokens.append(token)
        return tokens

    def offsets(self, text: str) -> list[int]:
        segments, start = self._split(text)
        offsets = [] if self.bos_id is None else [0]
        for i, (token, part) in enumerate(segments):
            if token is None:
                space = " " if i == 0 and self.leading_space else ""
                offsets += [start + offset for offset in self._part_offsets(space, part)]
            else:
                offsets.append(start)
            start += len(part)
        return offsets

    def _part_offsets(self, space: str, part: str) -> list[int]:
        """Return the characters of a part at which its tokens begin, if `space` precedes it."""
        encoded = self._processor.encode(space + part, out_type="serialized_proto")
        pieces = SentencePieceText.FromString(encoded).pieces
        chars = [i for i, c in enumerate(part) for _ in c.encode()]  # the character of each byte
        chars = [0] * len(space) + chars + [len(part)]
        return [chars[piece.begin] for piece in pieces]

    def _split(self, text: str) -> tuple[list[tuple[int | None, str]], int]:
        """Split a text at its added tokens. If it begins with the BOS that is put before a text,
        that one is left out, and its length in characters is returned.
        """
        segments = self._matcher.split(text)
        if self.bos_id is not None and segments and segments[0][0] == self.bos_id:
            return segments[1:], len(segments[0][1])
        return segments, 0

    def token_bytes(self, token: int) -> bytes:
        return self._pieces[token]


class AddedTokenMatcher:
    """Finds added tokens in a text, by the rules of the `tokenizers` library.

    charsmap: the table of a SentencePiece normalizer, applied before a `normalized` token is
    searched; empty for none.
    """

    def __init__(self, added: AddedTokens, charsmap: bytes) -> None:
        tokens = {i: token for i, token in added.items() if token.content}
        self._ids = list(tokens)
        self._tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())  # finds added tokens only
        if charsmap:
            self._tokenizer.normalizer = tokenizers.normalizers.Precompiled(charsmap)
        self._tokenizer.add_tokens(
            [
                tokenizers.AddedToken(
                    token.content,
                    single_word=token.single_word,
                    lstrip=token.lstrip,
                    rstrip=token.rstrip,
                    normalized=token.normalized,
                )
                for token in tokens.values()
            ]
        )

    def split(self, text: str) -> list[tuple[int | None, str]]:
        """Return the parts of a text, each with the id of the added token that it is, or None."""
        tokens = self._tokenizer.encode(text, add_special_tokens=False)
        parts: list[tuple[int | None, str]] = []
        end = 0
        for i, (start, stop) in zip(tokens.ids, tokens.offsets, strict=True):
            parts += [(None, text[end:start]), (self._ids[i], text[start:stop])]
            end = stop
        parts.append((None, text[end:]))
        return [part for part in parts if part[1]]
