"""The scheduler under every order of events, with a toy device."""

from itertools import pairwise
from math import gcd
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

from jax_backend.serving.drafting.rows import accepted_rows
from jax_backend.serving.plan import RequestState, Sequence, StepPlan
from jax_backend.serving.scheduler import Scheduler
from jax_backend.stopping import finish
from reference.params import CompletionParams
from reference.request import Request
from tests.jax_backend.serving.toy_device import (
    EOS,
    ToyDevice,
    ToyDrafter,
    expected_output,
)


def request(prompt: list[int], principal: str = "someone", **params: Any) -> Request:
    return Request.of(prompt, CompletionParams(**{"seed": 0, **params}), principal)


def is_finished(sequence: Sequence, *eos: int) -> bool:
    state, tokens = sequence.state, sequence.tokens
    reason, _ = finish(tokens[-1], len(tokens), state.budget, eos, ())
    return reason is not None


class Scheduling(RuleBasedStateMachine):
    """Requests arrive and are aborted at any time; the host gets the tokens of a step one step
    late.
    """

    @initialize(
        slots=st.integers(1, 4),
        spare=st.integers(0, 6),
        page_size=st.integers(1, 4),
        chunk=st.integers(1, 6),
        smaller=st.sets(st.integers(1, 3)),
        drafts=st.booleans(),
    )
    def begin(
        self,
        slots: int,
        spare: int,
        page_size: int,
        chunk: int,
        smaller: set[int],
        drafts: bool,
    ) -> None:
        self.context = 12
        num_pages = -(-self.context // page_size) + spare
        chunk_sizes = (*sorted(c for c in smaller if c < gcd(page_size, chunk)), chunk)
        self.scheduler = Scheduler(
            slots=slots,
            num_pages=num_pages,
            page_size=page_size,
            chunk_sizes=chunk_sizes,
            context=self.context,
        )
        self.slots = slots
        self.scheduler.row_planner.drafter = ToyDrafter() if drafts else None
        self.device = ToyDevice(num_pages, page_size, chunk_sizes)
        self.states: list[RequestState] = []
        self.in_flight: tuple[StepPlan, list[int]] | None = None
        self.completed: list[int] = []

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=11), n=st.integers(1, 3))
    def submit(self, prompt: list[int], n: int) -> None:
        r = request(prompt, n=n)
        self.states.append(self.scheduler.add(len(self.states), r, lambda event: None))

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.states))
        for sequence in state.sequences:
            if not sequence.finished and data.draw(st.booleans()):
                self.scheduler.finish(sequence)

    @rule()
    def step(self) -> None:
        if self.in_flight is not None and self.scheduler.must_wait(self.in_flight[0]):
            self.process(*self.in_flight)
            self.in_flight = None
        plan = self.scheduler.schedule()
        self.check(plan)
        sampled = self.device.run(plan)
        if self.in_flight is not None:
            self.process(*self.in_flight)
        self.in_flight = (plan, sampled) if plan else None

    def check(self, plan: StepPlan) -> None:
        slots = [row.slot for row in plan.rows if not row.is_draft]
        assert len(set(slots)) == len(slots) <= len(plan.rows) <= self.slots
        for before, row in pairwise(plan.rows):
            if row.is_draft:
                expected = before.sequence, before.slot, before.position + 1, before.pages
                assert (row.sequence, row.slot, row.position, row.pages) == expected
        pool = self.scheduler.pool
        for row in plan.rows:
            page = row.pages[row.position // self.scheduler.page_size]
            assert pool.ref_counts[page] == 1, "a row writes to a shared page"
            assert page not in pool.hash_by_page, "a row writes to a cached page"
            assert 0 <= row.position < self.context
        if plan.completed:
            self.completed.append(plan.completed.state.request_id)

    def process(self, plan: StepPlan, sampled: list[int]) -> None:
        for i, row in accepted_rows(plan.rows, sampled):
            sequence, token = row.sequence, sampled[i]
            if sequence.finished:
                continue
            if row.is_draft:
                self.scheduler.row_planner.accept(row)
            if row.num_generated < len(sequence.tokens):
                assert sequence.tokens[row.num_generated] == token, "recomputation differs"
                continue
            sequence.tokens.append(token)
            if is_finished(sequence, EOS):
                self.scheduler.finish(sequence)
                state = sequence.state
                expected = expected_output(state.request, sequence.index, state.budget)
                assert sequence.tokens == expected

    @invariant()
    def pages_and_slots_are_conserved(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        s = self.scheduler
        prefill = s.prefills.current
        held = [p for c in s.running for p in c.pages] + (prefill.pages if prefill else [])
        assert {p: held.count(p) for p in held} == dict(s.pool.ref_counts)
        assert all(not waiting.pages for waiting in s.prefills.waiting)
        assert len(s.free_slots) + len(s.running) == len(
            {*s.free_slots, *(c.slot for c in s.running)}
        )

    def teardown(self) -> None:
        """Every request finishes, and no page or slot is left in use."""
        if not hasattr(self, "scheduler"):
            return
        for _ in range(60 * (1 + len(self.states)) * 3):
            if not (self.scheduler.busy or self.in_flight):
                break
            self.step()
        sequences = [sequence for state in self.states for sequence in state.sequences]
        assert all(sequence.finished for sequence in sequences), "starved"
        assert not self.scheduler.busy and not self.scheduler.pool.ref_counts
        assert len(set(self.completed)) == len(self.completed)


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=150, stateful_step_count=40)


def scheduler_with_device(
    slots: int, num_pages: int, page_size: int, chunk_sizes: tuple[int, ...], context: int
) -> tuple[Scheduler, ToyDevice]:
    scheduler = Scheduler(
        slots=slots,
        num_pages=num_pages,
        page_size=page_size,
        chunk_sizes=chunk_sizes,
        context=context,
    )
    return scheduler, ToyDevice(num_pages, page_size, chunk_sizes)


def run(scheduler: Scheduler, device: ToyDevice) -> list[StepPlan]:
    plans = []
    while scheduler.busy:
        plans.append(run_step(scheduler, device))
    return plans


def run_step(scheduler: Scheduler, device: ToyDevice) -> StepPlan:
    plan = scheduler.schedule()
    for row, token in zip(plan.rows, device.run(plan), strict=True):
        sequence = row.sequence
        if row.num_generated == len(sequence.tokens) and not sequence.finished:
            sequence.tokens.append(token)
            if is_finished(sequence):
                scheduler.finish(sequence)
    return plan


def test_chunked_prefill_runs_alongside_decode() -> None:
    s, device = scheduler_with_device(2, 20, 4, (4,), 40)
    s.add(0, request([1], max_tokens=12), print)
    s.add(1, request(list(range(21)), max_tokens=1), print)
    plans = run(s, device)
    chunks = [(p.chunk.start, p.chunk.num_tokens) for p in plans if p.chunk]
    assert chunks == [(0, 4), (4, 4), (8, 4), (12, 4), (16, 4)]
    assert all(len(p.rows) >= 1 for p in plans)


def test_choices_share_full_pages_and_copy_the_last() -> None:
    s, device = scheduler_with_device(3, 20, 4, (16,), 40)
    s.add(0, request(list(range(7)), n=3, max_tokens=2), print)
    first = s.schedule()
    assert len(first.rows) == 3 and first.chunk and first.chunk.num_tokens == 6
    assert len({row.pages[0] for row in first.rows}) == 1
    assert len({row.pages[1] for row in first.rows}) == 3 and len(first.page_copies) == 2
    device.run(first)


def test_prefix_cache_is_isolated_by_principal_and_key() -> None:
    s, device = scheduler_with_device(1, 20, 4, (16,), 40)
    cached = []
    for request_id, (principal, key) in enumerate(
        [("a", None), ("a", None), ("b", None), ("a", "k")]
    ):
        params = CompletionParams(max_tokens=1, prompt_cache_key=key)
        s.add(request_id, Request.of(list(range(10)), params, principal), print)
        plans = run(s, device)
        cached += [p.completed.state.cached_tokens for p in plans if p.completed]
    assert cached == [0, 8, 0, 0]


def test_preempted_sequence_recomputes_the_same_output() -> None:
    s, device = scheduler_with_device(2, 8, 2, (8,), 16)
    states = [s.add(i, request([i, 5], max_tokens=12), print) for i in range(2)]
    plans = run(s, device)
    assert sum(len(p.admitted) for p in plans) > 2
    for state in states:
        assert state.sequences[0].tokens == expected_output(state.request, 0, 12, eos=None)


def test_last_chunk_has_the_smallest_size_that_fits() -> None:
    s, device = scheduler_with_device(1, 20, 4, (3, 8), 40)
    s.add(0, request(list(range(12)), max_tokens=1), print)
    s.add(1, request(list(range(7)), max_tokens=1), print)
    chunks = [p.chunk for p in run(s, device) if p.chunk]
    sizes = [(c.start, c.num_cached, c.num_tokens, c.size) for c in chunks]
    assert sizes == [(0, 0, 8, 8), (8, 0, 3, 3), (0, 4, 6, 8)]


@pytest.mark.parametrize(("page_size", "chunk_sizes"), [(4, (4, 8)), (3, (1, 2))])
def test_small_chunk_that_could_complete_a_page_is_refused(
    page_size: int, chunk_sizes: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="chunk_sizes"):
        scheduler_with_device(1, 20, page_size, chunk_sizes, 40)


def test_pages_of_the_request_itself_are_not_reported_as_a_cache_hit() -> None:
    """An older request preempts a prefill, which then starts again."""
    s, device = scheduler_with_device(2, 4, 4, (4,), 16)
    s.add(0, request([1, 2, 3], max_tokens=7), print)
    for _ in range(2):
        run_step(s, device)
    late = s.add(1, request(list(range(20, 33)), max_tokens=1), print)
    prefills = [p.chunk.prefill for p in run(s, device) if p.chunk]
    assert len({id(prefill) for prefill in prefills if prefill.state is late}) == 2
    assert late.cached_tokens == 0


def test_prompt_that_fills_the_context_is_refused() -> None:
    s, _ = scheduler_with_device(1, 4, 4, (4,), 16)
    with pytest.raises(ValueError, match="prompt"):
        s.add(0, request([1] * 16), print)
    with pytest.raises(ValueError, match="num_pages"):
        scheduler_with_device(1, 3, 4, (4,), 16)
