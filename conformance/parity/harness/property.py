"""A property that a backend shares with the reference, and the coverage of its checks."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from hypothesis import strategies as st

from conformance.parity.harness.backends import Backend


@dataclass
class Coverage:
    """Counts of what was checked.

    examples: checked examples. borderline: decisions within the tolerance of their threshold, where
    either outcome is correct; of the tokens of whole requests, only the flipped ones are known.
    flipped: borderline decisions whose outcome differs from the reference's. counts: other counts.
    """

    examples: int = 0
    borderline: int = 0
    flipped: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add_decisions(self, borderline: int, flipped: int) -> None:
        """Add borderline decisions, and how many of them are flipped."""
        self.borderline += borderline
        self.flipped += flipped


Check = Callable[[Any, Coverage], None]


def clause_of(check: Callable[..., None]) -> str:
    """Return the first line of a check's docstring, which states the property."""
    return (check.__doc__ or "").strip().split("\n")[0]


@dataclass(frozen=True)
class Property:
    """A property of a backend's functions.

    name: level/property, like a path. check(example, coverage): raises AssertionError if the
    backend differs from the reference on an example.
    """

    name: str
    examples: st.SearchStrategy[Any]
    check: Check

    @property
    def clause(self) -> str:
        return clause_of(self.check)


@dataclass(frozen=True)
class EngineProperty:
    """A property of an engine that serves a checkpoint."""

    name: str
    examples: Callable[[Backend], st.SearchStrategy[Any]]
    check: Callable[[Backend, Any, Coverage], None]
    needs_tokenizer: bool = False

    @property
    def clause(self) -> str:
        return clause_of(self.check)

    def bind(self, backend: Backend) -> Property:
        """Return the property of one backend."""

        @wraps(self.check)
        def check(example: Any, coverage: Coverage) -> None:
            self.check(backend, example, coverage)

        return Property(self.name, self.examples(backend), check)
