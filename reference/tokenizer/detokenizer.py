"""Incremental detokenization: token ids to text, one token at a time."""

import codecs
from collections.abc import Sequence

from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.vocabulary import strips_space


class Detokenizer:
    """Decodes tokens one at a time.

    The bytes of an incomplete character are withheld until it is complete or the text ends. Each
    maximal invalid part then becomes one U+FFFD, as in `bytes.decode(errors="replace")`.

    prompt: the tokens before the first one, which decide whether a space that `encode` puts there
    is stripped.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.length = 0  # characters so far
        self._strip_space = strips_space(tokenizer, prompt)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Return the characters that a token completes. An id beyond the tokenizer's vocabulary,
        which the model's embedding may have, adds nothing.
        """
        piece = self.tokenizer.token_bytes(token) if token < self.tokenizer.vocab_size else b""
        if self._strip_space and token not in self.tokenizer.added_ids:
            piece = piece.removeprefix(b" ")
        self._strip_space = token in self.tokenizer.space_after
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
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.push(t) for t in without_bos(tokenizer, tokens)]
    return "".join(pieces) + detokenizer.flush()


def token_offsets(tokenizer: Tokenizer, tokens: Sequence[int], text: str) -> list[int]:
    """Return the character at which each token of a prompt begins in the text of the prompt.

    If decoding gives the text, it also gives the offsets. Otherwise the prompt was sent as a text
    that the tokenizer does not encode losslessly: it reports where its tokens begin.
    """
    detokenizer = Detokenizer(tokenizer)
    offsets, pieces = [0] * (len(tokens) - len(without_bos(tokenizer, tokens))), []
    for token in without_bos(tokenizer, tokens):
        offsets.append(detokenizer.length)
        pieces.append(detokenizer.push(token))
    decoded = "".join(pieces) + detokenizer.flush()
    return offsets if decoded == text else tokenizer.offsets(text)
