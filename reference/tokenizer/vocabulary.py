"""The tokens of a model as bytes: the data that every backend needs to follow a grammar."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol


class SpaceRule(Protocol):
    """The places where `encode` puts a space that is not in the text: before a text, if
    `leading_space`, and after the tokens `space_after`.
    """

    @property
    def bos_id(self) -> int | None: ...

    @property
    def leading_space(self) -> bool: ...

    @property
    def space_after(self) -> frozenset[int]: ...


def strips_space(rule: SpaceRule, prompt: Sequence[int]) -> bool:
    """Return whether decoding strips a space from the token after these."""
    text = prompt[1:] if prompt and prompt[0] == rule.bos_id else prompt
    return text[-1] in rule.space_after if text else rule.leading_space


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of a model.

    pieces: the bytes that each of the V tokens adds to a text. disallowed_token_ids: ids that are
    never sampled, unless they end the output. bos_id: the id that every encoded text starts with,
    or None. leading_space: whether the first space of a text is stripped. space_after: ids after
    which a space is stripped. context_dependent_ids: ids that are never sampled under a grammar,
    because their text, or that of the token after them, depends on the tokens around them.
    """

    pieces: tuple[bytes, ...]
    disallowed_token_ids: frozenset[int]
    bos_id: int | None = None
    leading_space: bool = False
    space_after: frozenset[int] = frozenset()
    context_dependent_ids: frozenset[int] = frozenset()

    def strips_leading_space(self, prompt: Sequence[int]) -> bool:
        """Return whether a leading space of the output after this prompt is stripped."""
        return strips_space(self, prompt)

    @cached_property
    def special_names(self) -> dict[str, tuple[int, ...]]:
        """The disallowed ids by their text; several may have the same text. A piece that is not
        UTF-8 has none.
        """
        ids: dict[str, tuple[int, ...]] = {}
        for token in sorted(self.disallowed_token_ids):
            if token < len(self.pieces) and (piece := self.pieces[token]):
                with suppress(UnicodeDecodeError):
                    name = piece.decode()
                    ids[name] = (*ids.get(name, ()), token)
        return ids

    @cached_property
    def first_pieces(self) -> tuple[bytes, ...]:
        """The bytes that each token adds as the first token of a text whose first space is
        stripped.
        """
        return tuple(piece.removeprefix(b" ") for piece in self.pieces)
