"""A property that a backend shares with the reference, and what is counted while it is checked."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from hypothesis import strategies as st

from conformance.parity.harness.backends import Backend


@dataclass
class Tally:
    """examples: that were checked. near: decisions so near to their line that either outcome is
    right; of the tokens of whole requests, only those that fell otherwise are known to be near.
    other: those of them that fell otherwise than the reference's. counts: what else was compared.
    """

    examples: int = 0
    near: int = 0
    other: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def decided(self, near: int, other: int) -> None:
        """Add decisions within the tolerance of their line, and how many of them fell otherwise."""
        self.near += near
        self.other += other


Check = Callable[[Any, Tally], None]


def clause_of(check: Callable[..., None]) -> str:
    """The first line of a check's docstring: what it holds a backend to."""
    return (check.__doc__ or "").strip().split("\n")[0]


@dataclass(frozen=True)
class Property:
    """name: like a path, the level first. examples: what may be asked. check(example, tally) raises
    AssertionError if a backend does not do as the reference.
    """

    name: str
    examples: st.SearchStrategy[Any]
    check: Check

    @property
    def clause(self) -> str:
        return clause_of(self.check)


@dataclass(frozen=True)
class OfModel:
    """A property of a backend that serves a model. reads_text: whether it takes a tokenizer."""

    name: str
    examples: Callable[[Backend], st.SearchStrategy[Any]]
    check: Callable[[Backend, Any, Tally], None]
    reads_text: bool = False

    @property
    def clause(self) -> str:
        return clause_of(self.check)

    def of(self, backend: Backend) -> Property:
        """The property of this backend."""

        @wraps(self.check)
        def check(example: Any, tally: Tally) -> None:
            self.check(backend, example, tally)

        return Property(self.name, self.examples(backend), check)
