"""The tokens of a model as bytes: data that every backend needs to follow a grammar."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """pieces: what each of the V tokens adds to a text. never: ids that are no text.

    bos_id: what may stand before a prompt without a text, None if nothing. leading_space: whether
    the space that a text begins with is no part of it.
    """

    pieces: tuple[bytes, ...]
    never: frozenset[int]
    bos_id: int | None = None
    leading_space: bool = False

    def strips_leading_space(self, prompt: Sequence[int]) -> bool:
        """Whether the output after this prompt is a text of its own, whose first space is
        dropped.
        """
        return self.leading_space and not prompt[prompt[:1] == (self.bos_id,) :]

    @cached_property
    def first_pieces(self) -> tuple[bytes, ...]:
        """What each token adds as the very first of a text whose first space is dropped."""
        return tuple(piece.removeprefix(b" ") for piece in self.pieces)
