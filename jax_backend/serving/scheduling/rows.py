"""The rows of a decode step: one for each running sequence, and one for each draft token.

Drafts affect neither other requests nor the cache. They take rows that would be padding, or that
`Drafter` considers worth a larger batch, and pages that are free when everything else has been
allocated. Pages that no accepted row has reached are returned before the next step is planned.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from jax_backend.serving.scheduling.fairness import TokenCounters
from jax_backend.serving.scheduling.page_pool import PagePool
from jax_backend.serving.scheduling.plan import DecodeRow, Sequence, StepPlan


class Drafter(Protocol):
    """Proposes drafts. Any draft is correct; a good one saves steps."""

    def should_wait(self, sequences: list[Sequence]) -> bool:
        """Return whether to wait for the tokens in flight, because drafts after them look
        worthwhile. sequences: those that decode.
        """
        ...

    def drafts(self, sequences: list[Sequence]) -> Mapping[Sequence, list[int]]:
        """Return the tokens that may follow the next input token of sequences. Those with a token
        in flight get no draft.
        """
        ...


class RowPlanner:
    """Plans the rows of decode steps. max_rows: of a step. drafter: None for no drafts.

    After a step with drafts, the position of a sequence depends on the tokens that it samples. So
    its outputs must be processed, with `accept`, before the next step is planned.
    """

    def __init__(
        self, pool: PagePool, counters: TokenCounters, page_size: int, max_rows: int
    ) -> None:
        self.pool, self.counters = pool, counters
        self.page_size, self.max_rows = page_size, max_rows
        self.drafter: Drafter | None = None
        self.num_drafted = self.num_accepted = 0

    def plan(self, sequences: list[Sequence]) -> tuple[DecodeRow, ...]:
        """Return the rows of the next step, and move each sequence past its first row."""
        free = self.max_rows - len(sequences)
        drafts = self.drafter.drafts(sequences) if self.drafter and free > 0 else {}
        rows: list[DecodeRow] = []
        for sequence in sequences:
            draft = drafts.get(sequence, [])[: min(free, draft_limit(sequence))]
            rows += self._rows(sequence, draft)
            free -= len(draft)
        return tuple(rows)

    def accept(self, row: DecodeRow) -> None:
        """Move a sequence past a row with a draft token that its output has."""
        row.sequence.position += 1
        self.num_accepted += 1
        self.counters.charge(row.sequence.state.request.principal, 1)

    def must_wait(self, in_flight: StepPlan, sequences: list[Sequence]) -> bool:
        """Return whether the outputs of the step in flight are to be processed before the next one
        is planned.
        """
        if in_flight.has_drafts:
            return True
        if self.drafter is None or len(sequences) >= self.max_rows:
            return False
        return self.drafter.should_wait(sequences)

    def release_spare_pages(self, sequences: Iterable[Sequence]) -> None:
        """Return the pages that only rejected rows have used."""
        for sequence in sequences:
            needed = sequence.position // self.page_size + 1
            self.pool.release(sequence.pages[needed:])
            del sequence.pages[needed:]

    def _rows(self, sequence: Sequence, draft: list[int]) -> Iterator[DecodeRow]:
        assert sequence.slot is not None
        start = sequence.position
        draft = draft[: self._extend_pages(sequence, start + len(draft)) - start]
        pages = tuple(sequence.pages)
        for i, token in enumerate((sequence.next_input(), *draft)):
            yield DecodeRow(sequence, sequence.slot, start + i, token, pages, is_draft=i > 0)
        if sequence.num_unread >= 0:
            self.counters.charge(sequence.state.request.principal, 1)
        self.num_drafted += len(draft)
        sequence.position += 1

    def _extend_pages(self, sequence: Sequence, last: int) -> int:
        """Take free pages for the positions up to `last`. Return the last one that has a page."""
        while len(sequence.pages) * self.page_size <= last:
            page = self.pool.allocate(evict=False)
            if page is None:
                break
            sequence.pages.append(page)
        return min(last, len(sequence.pages) * self.page_size - 1)


def draft_limit(sequence: Sequence) -> int:
    """Return how many rows after the next one can sample a token within the budget; none while a
    token is in flight or the output is recomputed.
    """
    if sequence.num_unread:
        return 0
    return sequence.state.budget - len(sequence.tokens) - 1


def accepted_rows(
    rows: Iterable[DecodeRow], sampled: Iterable[int]
) -> Iterator[tuple[int, DecodeRow]]:
    """Yield the rows that count, with their indices. sampled: the token of each row."""
    accepted, previous = True, None
    for i, (row, token) in enumerate(zip(rows, sampled, strict=False)):
        accepted = not row.is_draft or (accepted and row.token == previous)
        previous = token
        if accepted:
            yield i, row
