"""The interface of a tokenizer: text to token ids and back, without loss.

A token is a string of bytes; the text is what the bytes of all tokens spell in UTF-8.
"""

from typing import Protocol, runtime_checkable


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
class HasMaxTokenBytes(Protocol):
    """A tokenizer that knows how many bytes of text one of its tokens stands for at most; None: any
    number.
    """

    max_token_bytes: int | None
