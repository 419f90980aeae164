"""Grammar states of the sequences in flight."""

from collections.abc import Iterable

from jax_backend.grammar.token_mask import MatcherState
from jax_backend.serving.scheduling.plan import DecodeRow, Sequence


class GrammarStates:
    """The grammar state of each constrained sequence, after the output that the host has."""

    def __init__(self) -> None:
        self.by_request: dict[int, list[MatcherState]] = {}

    def add(self, request_id: int, grammar: MatcherState, num_sequences: int) -> None:
        """Make the sequences of a request follow a grammar, each from its initial state."""
        self.by_request[request_id] = [grammar.copy() for _ in range(num_sequences)]

    def remove(self, request_id: int) -> None:
        """Drop the states of a request. Ignores one without a grammar."""
        self.by_request.pop(request_id, None)

    def of(self, sequence: Sequence) -> MatcherState | None:
        """Return the grammar state of a sequence, None if its output is unconstrained."""
        states = self.by_request.get(sequence.state.request_id)
        return states and states[sequence.index]

    def num_allowed(self, sequence: Sequence, tokens: list[int]) -> int:
        """Return how many tokens its grammar allows as the next ones of a sequence."""
        grammar = self.of(sequence)
        return len(tokens) if grammar is None else grammar.num_allowed(tokens)

    def before(self, rows: Iterable[DecodeRow]) -> list[MatcherState | None]:
        """Return the grammar state before each row samples, None for a row without a mask."""
        states: list[MatcherState | None] = []
        for row in rows:
            state = self.of(row.sequence) if row.is_needed else None
            if state is not None and row.is_draft and row.token is not None:
                state = (states[-1] or state).copy()
                state.push(row.token)
            states.append(state)
        return states
