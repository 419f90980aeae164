"""The scheduler under every order of events, on a device that keeps token ids instead of keys and
values, so that what a row attends to can be read off its pages.
"""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from jax_backend.serving.plan import Job, Plan, finish
from jax_backend.serving.scheduler import Scheduler
from reference.params import CompletionParams
from reference.request import Request

EOS = 9


def request(prompt: list[int], **params: Any) -> Request:
    return Request.of(prompt, CompletionParams(**{"seed": 0, **params}), "someone")


class Device:
    """pages[p][i]: the token at place i of page p, and the size of the chunk it was read in and its
    place there, zeros for one that was fed. slots: what each has drawn last.
    """

    def __init__(self, pages: int, size: int, chunks: tuple[int, ...]) -> None:
        self.size, self.chunk_sizes = size, chunks
        self.pages: list[list[Any]] = [[(None, None)] * size for _ in range(pages + 1)]
        self.slots: dict[int, int] = {}

    def run(self, plan: Plan) -> list[int]:
        """What each row draws: a function of all tokens before it, as a model's choice is."""
        if chunk := plan.chunk:
            for i in range(chunk.start + chunk.skip, chunk.start + chunk.count):
                where = chunk.size, i - chunk.start
                self.write(chunk.pages, i, chunk.reading.job.prompt[i], where)
            assert chunk.count <= chunk.size
        for source, target in plan.copies:
            self.pages[target] = list(self.pages[source])
        drawn = []
        for row in plan.rows:
            token = self.slots[row.slot] if row.token is None else row.token
            self.write(row.pages, row.position, token)
            text = self.text(row.pages, row.position + 1)
            job, read = row.choice.job, len(row.choice.job.prompt) - 1
            assert self.chunks(row.pages, read) == chunks_of(read, self.chunk_sizes)
            assert text[: len(job.prompt)] == list(job.prompt[: len(text)])
            drawn.append(draw(text, row.choice.index))
            self.slots[row.slot] = drawn[-1]
        return drawn

    def write(
        self, pages: tuple[int, ...], position: int, token: int, chunk: tuple[int, int] = (0, 0)
    ) -> None:
        page = pages[position // self.size]
        assert page > 0
        self.pages[page][position % self.size] = token, chunk

    def text(self, pages: tuple[int, ...], length: int) -> list[Any]:
        return [self.pages[pages[i // self.size]][i % self.size][0] for i in range(length)]

    def chunks(self, pages: tuple[int, ...], length: int) -> list[Any]:
        return [self.pages[pages[i // self.size]][i % self.size][1] for i in range(length)]


def draw(text: list[Any], choice: int) -> int:
    return hash((tuple(text), choice)) % 10


def alone(r: Request, choice: int, budget: int) -> list[int]:
    """The output of a choice that has the device for itself."""
    text = list(r.prompt)
    while len(text) - len(r.prompt) < budget:
        text.append(draw(text, choice))
        if text[-1] == EOS:
            break
    return text[len(r.prompt) :]


class Scheduling(RuleBasedStateMachine):
    """Requests come and are aborted at any time; the host sees each step's tokens one step late."""

    @initialize(
        slots=st.integers(1, 4),
        spare=st.integers(0, 6),
        size=st.integers(1, 4),
        chunk=st.integers(1, 6),
        smaller=st.sets(st.integers(1, 3)),
    )
    def begin(self, slots: int, spare: int, size: int, chunk: int, smaller: set[int]) -> None:
        self.context = 12
        pages = -(-self.context // size) + spare
        chunks = (*sorted(c for c in smaller if c < min(size, chunk)), chunk)
        self.scheduler = Scheduler(
            slots=slots, pages=pages, page_size=size, chunks=chunks, context=self.context
        )
        self.device = Device(pages, size, chunks)
        self.jobs: list[Job] = []
        self.late: tuple[Plan, list[int]] | None = None
        self.announced: list[int] = []

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=11), n=st.integers(1, 3))
    def submit(self, prompt: list[int], n: int) -> None:
        self.jobs.append(self.scheduler.add(len(self.jobs), request(prompt, n=n), lambda e: None))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        for choice in job.choices:
            if not choice.ended and data.draw(st.booleans()):
                self.scheduler.end(choice)

    @rule()
    def step(self) -> None:
        plan = self.scheduler.plan()
        self.check(plan)
        drawn = self.device.run(plan)
        if self.late is not None:
            self.see(*self.late)
        self.late = (plan, drawn) if plan else None

    def check(self, plan: Plan) -> None:
        slots = [row.slot for row in plan.rows]
        assert len(set(slots)) == len(slots) <= 4
        pool = self.scheduler.pool
        for row in plan.rows:
            page = row.pages[row.position // self.scheduler.page_size]
            assert pool.holders[page] == 1 and page not in pool.name_of, "a row writes on its own"
            assert 0 <= row.position < self.context
        if plan.announced:
            self.announced.append(plan.announced.job.request_id)

    def see(self, plan: Plan, drawn: list[int]) -> None:
        for row, token in zip(plan.rows, drawn, strict=True):
            choice = row.choice
            if choice.ended:
                continue
            if row.drawn < len(choice.tokens):
                assert choice.tokens[row.drawn] == token, "fed again, it draws the same"
                continue
            choice.tokens.append(token)
            if finish(choice, frozenset({EOS}))[0]:
                self.scheduler.end(choice)
                assert choice.tokens == alone(choice.job.request, choice.index, choice.job.budget)

    @invariant()
    def no_page_is_lost(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        s = self.scheduler
        held = [p for c in s.running for p in c.pages] + (s.reading.pages if s.reading else [])
        assert {p: held.count(p) for p in held} == dict(s.pool.holders)
        assert all(not reading.pages for reading in s.waiting)
        assert len(s.free_slots) + len(s.running) == len(
            {*s.free_slots, *(c.slot for c in s.running)}
        )

    def teardown(self) -> None:
        """Whatever has come ends, and nothing is left."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(60 * (1 + len(self.jobs)) * 3):
            if not (self.scheduler.busy or self.late):
                break
            self.step()
        assert all(choice.ended for job in self.jobs for choice in job.choices), "starved"
        assert not self.scheduler.busy and not self.scheduler.pool.holders
        assert len(set(self.announced)) == len(self.announced)


def chunks_of(read: int, chunks: tuple[int, ...]) -> list[tuple[int, int]]:
    """The chunk of each of the first tokens of a prompt, and its place there, whatever of it was in
    the cache.
    """
    starts = range(0, read, chunks[-1])
    pieces = [min(chunks[-1], read - start) for start in starts]
    return [(next(c for c in chunks if c >= piece), i) for piece in pieces for i in range(piece)]


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=150, stateful_step_count=40)


def run(s: Scheduler, device: Device) -> list[Plan]:
    plans = []
    while s.busy:
        plans.append(one_step(s, device))
    return plans


def one_step(s: Scheduler, device: Device) -> Plan:
    plan = s.plan()
    for row, token in zip(plan.rows, device.run(plan), strict=True):
        if row.drawn == len(row.choice.tokens) and not row.choice.ended:
            row.choice.tokens.append(token)
            if finish(row.choice, frozenset())[0]:
                s.end(row.choice)
    return plan


def test_a_long_prompt_is_read_chunk_by_chunk_while_others_go_on() -> None:
    s, device = (
        Scheduler(slots=2, pages=20, page_size=4, chunks=(4,), context=40),
        Device(20, 4, (4,)),
    )
    s.add(0, request([1], max_tokens=12), print)
    s.add(1, request(list(range(21)), max_tokens=1), print)
    plans = run(s, device)
    chunks = [(p.chunk.start, p.chunk.count) for p in plans if p.chunk]
    assert chunks == [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4)]
    assert all(len(p.rows) >= 1 for p in plans)


def test_choices_share_the_full_pages_of_their_prompt_and_copy_the_last() -> None:
    s, device = (
        Scheduler(slots=3, pages=20, page_size=4, chunks=(16,), context=40),
        Device(20, 4, (16,)),
    )
    s.add(0, request(list(range(7)), n=3, max_tokens=2), print)
    first = s.plan()
    assert len(first.rows) == 3 and first.chunk and first.chunk.count == 6
    assert len({row.pages[0] for row in first.rows}) == 1
    assert len({row.pages[1] for row in first.rows}) == 3 and len(first.copies) == 2
    device.run(first)


def test_a_prompt_that_was_read_is_found_by_its_own_principal_only() -> None:
    s, device = (
        Scheduler(slots=1, pages=20, page_size=4, chunks=(16,), context=40),
        Device(20, 4, (16,)),
    )
    cached = []
    for request_id, (who, key) in enumerate([("a", None), ("a", None), ("b", None), ("a", "k")]):
        params = CompletionParams(max_tokens=1, prompt_cache_key=key)
        s.add(request_id, Request.of(list(range(10)), params, who), print)
        plans = run(s, device)
        cached += [p.announced.job.cached for p in plans if p.announced]
    assert cached == [0, 8, 0, 0]


def test_the_youngest_gives_way_and_draws_the_same_when_it_comes_back() -> None:
    s, device = (
        Scheduler(slots=2, pages=8, page_size=2, chunks=(8,), context=16),
        Device(8, 2, (8,)),
    )
    jobs = [s.add(i, request([i, 5], max_tokens=12), print) for i in range(2)]
    plans = run(s, device)
    assert sum(len(p.admitted) for p in plans) > 2
    for job in jobs:
        assert job.choices[0].tokens == alone_without_end(job.request, 12)


def alone_without_end(r: Request, budget: int) -> list[int]:
    text = list(r.prompt)
    for _ in range(budget):
        text.append(draw(text, 0))
    return text[len(r.prompt) :]


def test_the_rest_of_a_prompt_is_read_in_a_small_chunk() -> None:
    s, device = (
        Scheduler(slots=1, pages=20, page_size=4, chunks=(3, 8), context=40),
        Device(20, 4, (3, 8)),
    )
    s.add(0, request(list(range(12)), max_tokens=1), print)
    s.add(1, request(list(range(7)), max_tokens=1), print)
    found = [p.chunk for p in run(s, device) if p.chunk]
    chunks = [(c.start, c.skip, c.count, c.size) for c in found]
    assert chunks == [(0, 0, 8, 8), (8, 0, 3, 3), (0, 4, 6, 8)]
    with pytest.raises(ValueError, match="chunks"):
        Scheduler(slots=1, pages=20, page_size=4, chunks=(4, 8), context=40)


def test_pages_that_a_prompt_has_read_itself_are_no_cache_hit() -> None:
    """An older request takes the pages of a prompt that is being read, which then begins again."""
    s, device = (
        Scheduler(slots=2, pages=4, page_size=4, chunks=(4,), context=16),
        Device(4, 4, (4,)),
    )
    s.add(0, request([1, 2, 3], max_tokens=7), print)
    for _ in range(2):
        one_step(s, device)
    late = s.add(1, request(list(range(20, 33)), max_tokens=1), print)
    readings = [p.chunk.reading for p in run(s, device) if p.chunk]
    assert len({id(reading) for reading in readings if reading.job is late}) == 2
    assert late.cached == 0


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    s = Scheduler(slots=1, pages=4, page_size=4, chunks=(4,), context=16)
    with pytest.raises(ValueError, match="prompt"):
        s.add(0, request([1] * 16), print)
    with pytest.raises(ValueError, match="pages"):
        Scheduler(slots=1, pages=3, page_size=4, chunks=(4,), context=16)
