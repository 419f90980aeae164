"""A device that stores token ids in place of keys and values, so that a test can read what a row
attends to.
"""

from typing import Any

from jax_backend.serving.scheduling.plan import Sequence, StepPlan
from jax_backend.serving.scheduling.rows import accepted_rows
from jax_backend.serving.settings import PrefillLayout
from reference.request import Request

EOS = 9


class ToyDevice:
    """A device that computes nothing.

    pages[p][i]: the token at position i of page p, with its place in the prefill launch: the index
    of the segment (0 if any segment may be anywhere) and the offset in it, None for a decoded
    token. slots: the last sampled token of each.
    """

    def __init__(self, num_pages: int, page_size: int, layout: PrefillLayout) -> None:
        self.page_size, self.layout = page_size, layout
        self.pages: list[list[Any]] = [[(None, None)] * page_size for _ in range(num_pages + 1)]
        self.slots: dict[int, int] = {}

    def run(self, plan: StepPlan) -> list[int]:
        """Return a token for each row: a function of all tokens before it, as of a model."""
        self.check(plan)
        for segment in plan.segments:
            place = 0 if self.layout.is_packed else segment.index
            for i in range(segment.num_tokens):
                position = segment.start + i
                token = segment.prefill.state.prompt[position]
                self.write(segment.pages, position, token, (place, i))
        if not plan.is_mixed:
            self.copy_pages(plan)
        for row in plan.rows:
            token = self.slots[row.slot] if row.token is None else row.token
            self.write(row.pages, row.position, token)
        sampled = []
        for row in plan.rows:
            tokens = self.tokens(row.pages, row.position + 1)
            prompt = row.sequence.state.prompt
            end = len(prompt) - 1
            assert self.places(row.pages, end) == expected_places(end, self.layout)
            assert tokens[: len(prompt)] == list(prompt[: len(tokens)])
            sampled.append(sample(tokens, row.sequence.index))
        for i, row in accepted_rows(plan.rows, sampled):
            self.slots[row.slot] = sampled[i]
        if plan.is_mixed:
            self.copy_pages(plan)
        return sampled

    def check(self, plan: StepPlan) -> None:
        """Check the shape of the prefill launch."""
        indices = [segment.index for segment in plan.segments]
        sizes = self.layout.mixed_sizes if plan.is_mixed else self.layout.sizes
        assert indices == sorted(set(indices)) and all(i < plan.num_segments for i in indices)
        assert plan.num_segments in (sizes if indices else (0,))
        assert all(0 < s.num_tokens <= self.layout.segment_size for s in plan.segments)
        assert self.layout.is_packed or len({id(s.prefill) for s in plan.segments}) <= 1

    def copy_pages(self, plan: StepPlan) -> None:
        for source, target in plan.page_copies:
            self.pages[target] = list(self.pages[source])

    def write(
        self,
        pages: tuple[int, ...],
        position: int,
        token: int,
        place: tuple[int, int] | None = None,
    ) -> None:
        page = pages[position // self.page_size]
        assert page > 0
        self.pages[page][position % self.page_size] = token, place

    def tokens(self, pages: tuple[int, ...], length: int) -> list[Any]:
        return [self._cell(pages, i)[0] for i in range(length)]

    def places(self, pages: tuple[int, ...], length: int) -> list[Any]:
        return [self._cell(pages, i)[1] for i in range(length)]

    def _cell(self, pages: tuple[int, ...], position: int) -> Any:
        return self.pages[pages[position // self.page_size]][position % self.page_size]


class ToyDrafter:
    """Drafts the true output with an error in one of four tokens. Waits every other time."""

    def __init__(self) -> None:
        self.count = 0

    def should_wait(self, sequences: list[Sequence]) -> bool:
        self.count += 1
        return self.count % 2 == 0

    def drafts(self, sequences: list[Sequence]) -> dict[Sequence, list[int]]:
        return {sequence: self.draft(sequence) for sequence in sequences}

    def draft(self, sequence: Sequence) -> list[int]:
        tokens: list[Any] = [*sequence.state.prompt, *sequence.tokens]
        for _ in range(5):
            self.count += 1
            tokens.append((sample(tokens, sequence.index) + (self.count % 4 == 0)) % 10)
        return tokens[-5:]


def sample(tokens: list[Any], choice: int) -> int:
    return hash((tuple(tokens), choice)) % 10


def expected_output(r: Request, choice: int, budget: int, eos: int | None = EOS) -> list[int]:
    """Return the output of a choice that runs alone."""
    tokens = list(r.prompt)
    while len(tokens) - len(r.prompt) < budget:
        tokens.append(sample(tokens, choice))
        if tokens[-1] == eos:
            break
    return tokens[len(r.prompt) :]


def expected_places(end: int, layout: PrefillLayout) -> list[tuple[int, int]]:
    """Return the place of each prompt token in its launch, which does not depend on the cache."""
    size, count = layout.segment_size, layout.sizes[-1]
    return [(0 if layout.is_packed else i // size % count, i % size) for i in range(end)]
