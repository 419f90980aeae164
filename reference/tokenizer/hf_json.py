"""Tokenizers stored as `tokenizer.json` (Llama 3)."""

import json
from typing import Any

import tokenizers

from reference.tokenizer.files import (
    BYTE_OF,
    BYTE_PIECE,
    SENTENCEPIECE_SPACE,
    TokenizerError,
    is_byte_level,
    is_lossless,
    max_text_bytes,
    special_tokens,
    token_name,
)


class JsonTokenizer:
    """A `tokenizer.json`, loaded with the `tokenizers` library. Its pieces are written in GPT-2's
    byte alphabet (Llama 3) or in SentencePiece's notation (Llama 2).
    """

    def __init__(self, text: str, config: dict[str, Any]) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises plain Exception
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
        lossless = is_lossless(spec, self._byte_level)
        self.max_token_bytes = max_text_bytes(self._pieces, self._byte_level) if lossless else None
        self.bos_id = self._bos(config)
        probe = self._ids("a")
        self.leading_space = bool(probe) and self._pieces[probe[0]].startswith(b" ")
        self.doubles_space = probe != self._ids(" a")
        self.added_ids = frozenset(self._added)
        self.space_after = frozenset(filter(self._puts_space_after, self._added))

    def _puts_space_after(self, token: int) -> bool:
        """Return whether `encode` puts a space before a text that follows an added token."""
        # A token that must be a whole word is not one before a letter.
        probes = (self._ids(self._added[token] + text) for text in ("a", "."))
        return any(
            ids[0] == token and self._pieces[ids[1]].startswith(b" ")
            for ids in probes
            if len(ids) > 1
        )

    def _bos(self, config: dict[str, Any]) -> int | None:
        """Return the BOS id: from the post-processor's template, else from the config."""
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
                "tokenizer_config.json: add_bos_token is set and bos_token is not a token"
            )
        return int(token)

    def _bytes(self, token: int) -> bytes:
        """Convert a token's name in the file to the bytes it adds to the text."""
        name = self._tokenizer.id_to_token(token)
        if token in self._added or name is None:
            return self._added.get(token, "").encode()
        if self._byte_level:
            return bytes(BYTE_OF[c] for c in name)
        if byte := BYTE_PIECE.fullmatch(name):
            return bytes.fromhex(byte[1])
        return str(name).replace(SENTENCEPIECE_SPACE, " ").encode()

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(self, text: str) -> list[int]:
        return ([] if self.bos_id is None else [self.bos_id]) + self._ids(text)

    def offsets(self, text: str) -> list[int]:
        spans = self._tokenizer.encode(text, add_special_tokens=False).offsets
        ends = [0, *(end for _, end in spans)]
        # A post-processor may have trimmed spaces: a token begins where the last one ends.
        starts = [min(start, end) for (start, _), end in zip(spans, ends, strict=False)]
        return [0] * (self.bos_id is not None) + starts

    def token_bytes(self, token: int) -> bytes:
        return self._pieces[token]
