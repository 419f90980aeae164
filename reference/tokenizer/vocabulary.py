"""The tokens of a model as bytes: the data that every backend needs to follow a grammar."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a model.

    pieces: the bytes that each of the V tokens adds to a text. disallowed_token_ids: ids that are
    never sampled, unless they end the output. bos_id: the id that every encoded text starts with,
    or None. leading_space: whether the first space of a text is stripped.
    """

    pieces: tuple[bytes, ...]
    disallowed_token_ids: frozenset[int]
    bos_id: int | None = None
    leading_space: bool = False

    def strips_leading_space(self, prompt: Sequence[int]) -> bool:
        """Return whether the output after this prompt begins a text, whose first space is
        stripped.
        """
        has_bos = prompt[:1] == (self.bos_id,)
        return self.leading_space and not prompt[has_bos:]

    @cached_property
    def first_pieces(self) -> tuple[bytes, ...]:
        """The bytes that each token adds as the first token of a text whose first space is
        stripped.
        """
        return tuple(piece.removeprefix(b" ") for piece in self.pieces)
