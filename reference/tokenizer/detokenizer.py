"""Token ids to text, for tokens that arrive one by one."""

import codecs
from collections.abc import Sequence

from reference.tokenizer.protocol import Tokenizer


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
