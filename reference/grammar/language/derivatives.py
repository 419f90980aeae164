"""Membership and prefix tests, byte by byte.

The derivative of a set by a byte is the set of what may follow that byte. A text is in the set if
the derivative by all its bytes contains the empty text. It is a prefix of a text of the set if that
derivative is not empty.

    "abc" | "ad"  by "a"  →  "bc" | "d"  by "d"  →  EPSILON

Source: Brzozowski 1964, "Derivatives of regular expressions"; for rules, Might, Darais and
Spiewak 2011, "Parsing with derivatives".
"""

from collections import deque
from collections.abc import Iterator

from reference.grammar.language.errors import TooComplex
from reference.grammar.language.expressions import (
    EMPTY_SET,
    Language,
    complement,
    concat,
    intersect,
    repeat,
    union,
)
from reference.grammar.language.nodes import (
    Alternation,
    Chars,
    Complement,
    Concat,
    Expression,
    Intersection,
    Ref,
    Repeat,
    Token,
)
from reference.grammar.language.utf8 import byte_class_boundaries, utf8_derivative
from reference.grammar.language.work_budget import WorkBudget

MAX_BRANCHES = 2_000  # of one state
MAX_SEARCHED_BRANCHES = 10_000  # of all states that one emptiness search visits
MAX_CACHED_BRANCHES = 2_000_000  # of all states in the cache


class Derivatives:
    """Derivatives of one language, each computed once. Raises TooComplex past the bounds.

    A state is an expression: the set of all texts that may still follow. It is productive if that
    set is not empty. budget: a bound on the work, if there is one.
    """

    def __init__(self, language: Language, budget: WorkBudget | None = None) -> None:
        self.language, self.budget = language, budget
        self._derivatives: dict[tuple[Expression, int], Expression] = {}
        self._productive: dict[Expression, bool] = {}
        self._cached_branches = 0

    def advance(self, state: Expression, text: bytes) -> Expression:
        """Return the state after the text; EMPTY_SET if the text is not a valid prefix."""
        for byte in text:
            if self.budget:
                self.budget.spend(1)
            if state is EMPTY_SET:
                return EMPTY_SET
            state = self.derivative(state, byte)
        return state

    def accepts(self, text: bytes) -> bool:
        """Return whether the text is in the language."""
        return self.advance(self.language.start, text).nullable

    def derivative(self, state: Expression, byte: int) -> Expression:
        """Return the state after one byte."""
        cached = self._derivatives.get((state, byte))
        if cached is not None:
            return cached
        derivative = self._derivatives[state, byte] = self._derive(state, byte)
        branches = count_branches(derivative)
        if branches > MAX_BRANCHES:
            raise TooComplex(f"the grammar state exceeds {MAX_BRANCHES:,} branches")
        if self.budget:
            self.budget.spend(branches)
        self._cached_branches += branches
        if self._cached_branches > MAX_CACHED_BRANCHES:
            self._derivatives.clear()
            self._productive.clear()
            self._cached_branches = 0
        return derivative

    def _derive(self, state: Expression, byte: int) -> Expression:
        match state:
            case Chars():
                return utf8_derivative(state, byte)
            case Concat():
                return union(self._concat_derivatives(state, byte))
            case Alternation(options=options):
                return union([self.derivative(option, byte) for option in options])
            case Repeat(body=body, min_count=min_count, max_count=max_count):
                # One repetition has begun: finish it, then repeat the body once less.
                fewer = None if max_count is None else max_count - 1
                rest = repeat(body, max(0, min_count - 1), fewer)
                return concat(self.derivative(body, byte), rest)
            case Intersection(left=left, right=right):
                # The sides may contradict each other without either being empty. Only a search
                # detects it, and an undetected empty state would lead generation into a dead end.
                both = intersect(self.derivative(left, byte), self.derivative(right, byte))
                return self.drop_unproductive(both)
            case Complement(body=body):
                return complement(self.derivative(body, byte))
            case Token(body=body):
                return self.derivative(body, byte)
            case Ref(name=name):
                return self.derivative(self.language.rules[name], byte)
            case _:
                return EMPTY_SET

    def _concat_derivatives(self, state: Expression, byte: int) -> Iterator[Expression]:
        """Yield one derivative for each part that the byte may belong to: the first part, and each
        part that only nullable parts precede.
        """
        while isinstance(state, Concat):
            yield concat(self.derivative(state.first, byte), state.rest)
            if not state.first.nullable:
                return
            state = state.rest
        yield self.derivative(state, byte)

    def drop_unproductive(self, state: Expression) -> Expression:
        """Return the state; EMPTY_SET if it is not productive."""
        return state if self.is_productive(state) else EMPTY_SET

    def is_productive(self, state: Expression) -> bool:
        """Return whether the state contains a text. An intersection must be searched for one."""
        if state not in self._productive:
            self._search(state)
        return self._productive[state]

    def _search(self, start: Expression) -> None:
        """Search the states that follow `start` for a productive one, and record the outcome. The
        search is breadth-first, since the shortest text is rarely long.
        """
        predecessors: dict[Expression, Expression | None] = {start: None}
        queue, searched = deque([start]), 0
        while queue:
            state = queue.popleft()
            if self._known_productive(state):
                self._mark_productive(state, predecessors)
                return
            searched += count_branches(state)
            if searched > MAX_SEARCHED_BRANCHES:
                raise TooComplex(f"the emptiness check exceeds {MAX_SEARCHED_BRANCHES:,} branches")
            for successor in self._successors(state):
                if successor not in predecessors and self._productive.get(successor) is not False:
                    predecessors[successor] = state
                    queue.append(successor)
                    if self._known_productive(successor):
                        break
        # The whole graph was visited, and no state in it contains a text.
        self._productive.update(dict.fromkeys(predecessors, False))

    def _known_productive(self, state: Expression) -> bool:
        """Return whether the state is known to be productive without a search: an intersection if
        it is nullable or an earlier search says so, any other state unless it is EMPTY_SET.
        """
        if isinstance(state, Intersection):
            return state.nullable or self._productive.get(state, False)
        return state is not EMPTY_SET

    def _mark_productive(
        self, state: Expression | None, predecessors: dict[Expression, Expression | None]
    ) -> None:
        """Mark a state and all states on the path to it."""
        while state is not None:
            self._productive[state] = True
            state = predecessors[state]

    def _successors(self, state: Expression) -> Iterator[Expression]:
        """Yield the state after each byte, one byte of each class, without a productivity check."""
        for byte in sorted(byte_class_boundaries(state)):
            successor = self._unchecked_derivative(state, byte)
            if successor is not EMPTY_SET:
                yield successor

    def _unchecked_derivative(self, state: Expression, byte: int) -> Expression:
        # `derivative` would search each intersection, and so recurse into the running search.
        if isinstance(state, Intersection):
            return intersect(
                self._unchecked_derivative(state.left, byte),
                self._unchecked_derivative(state.right, byte),
            )
        return self.derivative(state, byte)


def count_branches(state: Expression) -> int:
    """Count the alternatives of a state, which is the measure of its size."""
    match state:
        case Alternation(options=options):
            return len(options)
        case Intersection(left=left, right=right):
            return count_branches(left) + count_branches(right)
        case Complement(body=body):
            return count_branches(body)
        case _:
            return 1
