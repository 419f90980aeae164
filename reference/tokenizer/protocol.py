"""The interface of a tokenizer: text to token ids and back, without loss.

A token is a byte string. The text is the concatenated bytes of all tokens, decoded as UTF-8.
"""

from typing import Protocol


class Tokenizer(Protocol):
    """Token ids are 0 ≤ id < vocab_size. special_ids: control tokens, padding and the unknown
    token, which are never part of an output. bos_id: the first id of every encoded text, or None.
    added_ids: tokens that `encode` recognizes by their exact text, special or not. space_after:
    those of them after which `encode` puts a space before the text, which decoding strips again.
    doubles_space: whether it does so before a text that begins with a space, too.
    """

    vocab_size: int
    special_ids: frozenset[int]
    bos_id: int | None
    added_ids: frozenset[int]
    space_after: frozenset[int]
    doubles_space: bool

    @property
    def leading_space(self) -> bool:
        """True if `encode` puts a space before the text, which decoding strips again."""

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        """Return the token ids of a prompt: BOS if the tokenizer adds one, and special tokens where
        the text contains their names. A BOS at the beginning of the text is that BOS: it is not
        added twice. Without `add_bos`, BOS is first only if the text begins with it.
        """

    def offsets(self, text: str) -> list[int]:
        """Return the character at which each token of `encode(text)` begins in the text, also where
        encoding is not lossless.
        """

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token adds to the text; for a special token, its name
        (`</s>`).
        """
