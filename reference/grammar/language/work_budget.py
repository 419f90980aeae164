"""A bound on the work of compiling one format."""

from reference.grammar.language.errors import TooComplex

MAX_WORK = 500_000  # about a second


class WorkBudget:
    """Counts work in characters: those compared, those of patterns that are compiled, and the
    digits after each remainder of `multipleOf`.
    """

    def __init__(self, work: int = MAX_WORK) -> None:
        self.remaining = work

    def spend(self, work: int) -> None:
        """Raise TooComplex if all the work so far exceeds the bound."""
        self.remaining -= work
        if self.remaining < 0:
            raise TooComplex("it takes too long to compile")
