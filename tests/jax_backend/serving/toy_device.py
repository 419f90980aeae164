"""A device that stores token ids in place of keys and values, so that a test can read what a row
attends to.
"""

from typing import Any

from jax_backend.serving.drafting.rows import accepted_rows
from jax_backend.serving.plan import Sequence, StepPlan
from reference.request import Request

EOS = 9


class ToyDevice:
    """A device that computes nothing.

    pages[p][i]: the token at position i of page p, with the size of its prefill chunk and its
    offset in it, zeros for a decoded token. slots: the last sampled token of each.
    """

    def __init__(self, num_pages: int, page_size: int, chunk_sizes: tuple[int, ...]) -> None:
        self.page_size, self.chunk_sizes = page_size, chunk_sizes
        self.pages: list[list[Any]] = [[(None, None)] * page_size for _ in range(num_pages + 1)]
        self.slots: dict[int, int] = {}

    def run(self, plan: StepPlan) -> list[int]:
        """Return a token for each row: a function of all tokens before it, as of a model."""
        if chunk := plan.chunk:
            for i in range(chunk.start + chunk.num_cached, chunk.start + chunk.num_tokens):
                cell = chunk.size, i - chunk.start
                self.write(chunk.pages, i, chunk.prefill.state.prompt[i], cell)
            assert chunk.num_tokens <= chunk.size
        for source, target in plan.page_copies:
            self.pages[target] = list(self.pages[source])
        sampled = []
        for row in plan.rows:
            token = self.slots[row.slot] if row.token is None else row.token
            self.write(row.pages, row.position, token)
            tokens = self.tokens(row.pages, row.position + 1)
            prompt = row.sequence.state.prompt
            end = len(prompt) - 1
            assert self.chunks(row.pages, end) == expected_chunks(end, self.chunk_sizes)
            assert tokens[: len(prompt)] == list(prompt[: len(tokens)])
            sampled.append(sample(tokens, row.sequence.index))
        for i, row in accepted_rows(plan.rows, sampled):
            self.slots[row.slot] = sampled[i]
        return sampled

    def write(
        self, pages: tuple[int, ...], position: int, token: int, chunk: tuple[int, int] = (0, 0)
    ) -> None:
        page = pages[position // self.page_size]
        assert page > 0
        self.pages[page][position % self.page_size] = token, chunk

    def tokens(self, pages: tuple[int, ...], length: int) -> list[Any]:
        return [self._cell(pages, i)[0] for i in range(length)]

    def chunks(self, pages: tuple[int, ...], length: int) -> list[Any]:
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


def expected_chunks(end: int, chunk_sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the chunk size and the offset of each prompt token, which do not depend on the
    cache.
    """
    largest = chunk_sizes[-1]
    pieces = [min(largest, end - start) for start in range(0, end, largest)]
    return [
        (next(size for size in chunk_sizes if size >= piece), i)
        for piece in pieces
        for i in range(piece)
    ]
