"""Incremental detokenization: token ids to text, one token at a time."""

import codecs
from collections.abc import Sequence

from reference.tokenizer.protocol import Tokenizer


class Detokenizer:
    """Decodes tokens one at a time.

    The bytes of an incomplete character are withheld until it is complete or the text ends. Each
    maximal invalid part then becomes one U+FFFD, as in `bytes.decode(errors="replace")`.

    at_start: whether a text begins here, so that the space that `encode` puts first is stripped.
    """

    def __init__(self, tokenizer: Tokenizer, *, at_start: bool) -> None:
        self.tokenizer = tokenizer
        self.length = 0  # characters so far
        self._strip_space = at_start and tokenizer.leading_space
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the characters that a token completes. An id beyond the tokenizer's vocabulary,
        which the model's embedding may have, adds nothing.
        """
        piece = self.tokenizer.token_bytes(token) if token < self.tokenizer.vocab_size else b""
        if self._strip_space and token not in self.tokenizer.special_ids:
            piece = piece.removeprefix(b" ")
        self._strip_space = False
        return self._count(self._decoder.decode(piece))

    def flush(self) -> str:
        """Return what remains of an incomplete character when the text ends."""
        return self._count(self._decoder.decode(b"", final=True))

    def _count(self, text: str) -> str:
        self.length += len(text)
        return text


def without_bos(tokenizer: Tokenizer, tokens: Sequence[int]) -> Sequence[int]:
    """Strip the BOS that `encode` puts first."""
    return tokens[1:] if tokens and tokens[0] == tokenizer.bos_id else tokens


def decode(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Decode a whole prompt: `decode(encode(text)) == text`."""
    detokenizer = Detokenizer(tokenizer, at_start=True)
    pieces = [detokenizer.push(t) for t in without_bos(tokenizer, tokens)]
    return "".join(pieces) + detokenizer.flush()
