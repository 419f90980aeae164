"""Text ↔ token ids, without loss.

Both kinds of file give the same interface: `SentencePieceTokenizer` reads `tokenizer.model` (Llama
1 and 2, Mistral, TinyLlama), `JsonTokenizer` reads `tokenizer.json` (Llama 3). A token is a string
of bytes; text is what the bytes of all tokens spell in UTF-8.
"""

import codecs
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import tokenizers
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as sentencepiece_model

from reference.tokenizer_files import (
    BYTE_OF,
    BYTE_PIECE,
    SPACE,
    added_tokens,
    is_byte_level,
    keeps_every_byte,
    longest,
    read_config,
    special_tokens,
    token_name,
)
from reference.tokenizer_files import TokenizerError as TokenizerError


@runtime_checkable
class Tokenizer(Protocol):
    """ids 0 ≤ id < vocab_size. special_ids are control tokens and the unknown token: never part of
    an output.

    bos_id: what `encode` puts first, None if nothing. leading_space: whether `encode` puts a space
    before the text that `decode` takes away again.
    """

    vocab_size: int
    special_ids: frozenset[int]
    bos_id: int | None

    @property
    def leading_space(self) -> bool: ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt: BOS if the tokenizer adds one, special tokens where their text
        stands.
        """

    def piece(self, token: int) -> bytes:
        """What a token adds to the text; of a special token, its name (`</s>`)."""


@runtime_checkable
class Bounded(Protocol):
    """A tokenizer that knows how many bytes of text one of its tokens stands for at most; None: any
    number.
    """

    most_bytes: int | None


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
        self.most_bytes = longest(self._pieces, False) if exact else None
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


class JsonTokenizer:
    """A `tokenizer.json`, read with the `tokenizers` library. Its pieces are bytes in GPT-2's
    alphabet (Llama 3) or SentencePiece's spelling (Llama 2).
    """

    def __init__(self, text: str, config: dict[str, Any]) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises nothing narrower
            raise TokenizerError(f"tokenizer.json: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        spec = json.loads(text)
        self._byte_level = is_byte_level(spec.get("decoder"))
        added = self._tokenizer.get_added_tokens_decoder()
        self._added = {i: token.content for i, token in added.items()}
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        special = {i for i, token in added.items() if token.special}
        gaps = {i for i in range(self.vocab_size) if self._tokenizer.id_to_token(i) is None}
        self.special_ids = frozenset(special | gaps | special_tokens(config))
        self._pieces = [self._bytes(i) for i in range(self.vocab_size)]
        exact = keeps_every_byte(spec, self._byte_level)
        self.most_bytes = longest(self._pieces, self._byte_level) if exact else None
        self.bos_id = self._bos(config)
        first = self._ids("a")
        self.leading_space = bool(first) and self._pieces[first[0]].startswith(b" ")

    def _bos(self, config: dict[str, Any]) -> int | None:
        template = self._tokenizer.encode("", add_special_tokens=True).ids
        adds_bos = config.get("add_bos_token", bool(template))
        if not adds_bos:
            return None
        if template:
            return int(template[0])
        name = token_name(config.get("bos_token"))
        token = None if name is None else self._tokenizer.token_to_id(name)
        if token is None:
            raise TokenizerError(
                "tokenizer_config.json: add_bos_token is set and bos_token is no token"
            )
        return int(token)

    def _bytes(self, token: int) -> bytes:
        name = self._tokenizer.id_to_token(token)
        if token in self._added or name is None:
            return self._added.get(token, "").encode()
        if self._byte_level:
            return bytes(BYTE_OF[c] for c in name)
        if byte := BYTE_PIECE.fullmatch(name):
            return bytes.fromhex(byte[1])
        return str(name).replace(SPACE, " ").encode()

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, text: str) -> list[int]:
        return ([] if self.bos_id is None else [self.bos_id]) + self._ids(text)

    def piece(self, token: int) -> bytes:
        return self._pieces[token]


def load(directory: str | Path) -> Tokenizer:
    """The tokenizer of a checkpoint directory: `tokenizer.model` if there is one, else
    `tokenizer.json`.

    Raises TokenizerError, naming the file.
    """
    directory = Path(directory)
    config = read_config(directory / "tokenizer_config.json")
    if (directory / "tokenizer.model").exists():
        try:
            return SentencePieceTokenizer((directory / "tokenizer.model").read_bytes(), config)
        except TokenizerError:
            raise
        except Exception as error:  # protobuf's and SentencePiece's errors share no narrower base
            raise TokenizerError(f"tokenizer.model is no SentencePiece model: {error}") from error
    if (directory / "tokenizer.json").exists():
        return JsonTokenizer((directory / "tokenizer.json").read_text("utf-8"), config)
    raise TokenizerError(f"{directory}: neither tokenizer.model nor tokenizer.json is there")


class Detokenizer:
    """The text of tokens that arrive one by one.

    The bytes of an unfinished character are withheld until it is whole or the text ends; then each
    maximal invalid part is one U+FFFD, as in `bytes.decode(errors="replace")`.

    at_start: whether a text begins here, so that the space which `encode` puts first is to be taken
    away.
    """

    def __init__(self, tokenizer: Tokenizer, *, at_start: bool) -> None:
        self.tokenizer = tokenizer
        self.length = 0  # characters so far
        self._drop_space = at_start and tokenizer.leading_space
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The characters that this token completes; none of an id that the tokenizer does not know
        (the embedding may have more rows).
        """
        piece = self.tokenizer.piece(token) if token < self.tokenizer.vocab_size else b""
        if self._drop_space and token not in self.tokenizer.special_ids:
            piece = piece.removeprefix(b" ")
        self._drop_space = False
        return self._count(self._decoder.decode(piece))

    def flush(self) -> str:
        """What is left of an unfinished character when the text ends."""
        return self._count(self._decoder.decode(b"", final=True))

    def _count(self, text: str) -> str:
        self.length += len(text)
        return text


def without_bos(tokenizer: Tokenizer, tokens: Sequence[int]) -> Sequence[int]:
    """The tokens less the BOS that `encode` would put first."""
    return tokens[1:] if tokens and tokens[0] == tokenizer.bos_id else tokens


def decode(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """The text of a whole prompt: `decode(encode(text)) == text`."""
    text = Detokenizer(tokenizer, at_start=True)
    return "".join([text.push(t) for t in without_bos(tokenizer, tokens)]) + text.flush()
