"""Incremental detokenization: token ids to text, one token at a time."""

import codecs
from collections.abc import Sequence
from itertools import accumulate

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

    def keep_space(self) -> None:
        """Keep the leading space of the next token, which may otherwise be stripped."""
        self._strip_space = False

    def flush(self) -> str:
        """Return what remains of an incomplete character when the text ends."""
        return self._count(self._decoder.decode(b"", final=True))

    def _count(self, text: str) -> str:
        self.length += len(text)
        return text


def without_bos(tokenizer: Tokenizer, tokens: Sequence[int]) -> Sequence[int]:
    """Strip the BOS that `encode` puts first."""
    return tokens[1:] if tokens and tokens[0] == tokenizer.bos_id else tokens


def prompt_parts(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[str]:
    """Return the characters that each token of a prompt completes, then the rest of its text.

    The leading BOS, which is not part of the text, has none.
    """
    detokenizer = Detokenizer(tokenizer)
    text = without_bos(tokenizer, tokens)
    parts = [""] * (len(tokens) - len(text))
    for i, token in enumerate(text):
        if not tokenizer.doubles_space and has_own_space(tokenizer, text[i : i + 2]):
            detokenizer.keep_space()
        parts.append(detokenizer.push(token))
    return [*parts, detokenizer.flush()]


def has_own_space(tokenizer: Tokenizer, tokens: Sequence[int]) -> bool:
    """Return whether the leading space of a text is not one that `encode` put there: another space
    follows it, or no text.
    """
    known = (t for t in tokens if t < tokenizer.vocab_size)
    pieces = (b"" if t in tokenizer.added_ids else tokenizer.token_bytes(t) for t in known)
    return b"".join(pieces)[:2] in (b" ", b"  ")


def decode(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Decode a whole prompt: `decode(encode(text)) == text`.

    The exceptions are a text that begins with the BOS that `encode` puts first, which is left out,
    and tokenizers to which "a" and " a" are the same text: this gives "a".
    """
    return "".join(prompt_parts(tokenizer, tokens))


def token_offsets(tokenizer: Tokenizer, tokens: Sequence[int], text: str) -> list[int]:
    """Return the character at which each token of a prompt begins in the text of the prompt.

    If decoding gives the text, it also gives the offsets. Otherwise the prompt was sent as a text
    that the tokenizer does not encode losslessly: it reports where its tokens begin.
    """
    parts = prompt_parts(tokenizer, tokens)
    if "".join(parts) != text:
        return tokenizer.offsets(text)
    return [0, *accumulate(map(len, parts[:-1]))][: len(tokens)]
