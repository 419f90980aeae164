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

SPACE = "▁"  # how SentencePiece writes a space
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenizerError(ValueError):
    """A tokenizer's file is missing, broken or of a kind that cannot be read without loss."""


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
        self._byte_level = is_byte_level(json.loads(text).get("decoder"))
        added = self._tokenizer.get_added_tokens_decoder()
        self._added = {i: token.content for i, token in added.items()}
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        special = {i for i, token in added.items() if token.special}
        gaps = {i for i in range(self.vocab_size) if self._tokenizer.id_to_token(i) is None}
        self.special_ids = frozenset(special | gaps | special_tokens(config))
        self._pieces = [self._bytes(i) for i in range(self.vocab_size)]
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
    config_file = directory / "tokenizer_config.json"
    config = json.loads(config_file.read_text("utf-8")) if config_file.exists() else {}
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


def added_tokens(config: dict[str, Any]) -> dict[int, str]:
    """`added_tokens_decoder` of a tokenizer_config.json: the tokens added to those of the model's
    file.
    """
    decoder = config.get("added_tokens_decoder") or {}
    return {int(i): token["content"] for i, token in decoder.items()}


def special_tokens(config: dict[str, Any]) -> frozenset[int]:
    """The added tokens that are no text."""
    decoder = config.get("added_tokens_decoder") or {}
    return frozenset(int(i) for i, token in decoder.items() if token.get("special"))


def token_name(token: str | dict[str, Any] | None) -> str | None:
    """The text of a token as a tokenizer_config.json writes it: a string, or an object with
    `content`.
    """
    return str(token["content"]) if isinstance(token, dict) else token


def is_byte_level(decoder: dict[str, Any] | None) -> bool:
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
        """The characters that this token completes."""
        piece = self.tokenizer.piece(token)
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
