"""The scheduler under every order of events, with a toy device."""

from itertools import pairwise
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

from jax_backend.serving.scheduling.plan import RequestState, Sequence, StepPlan
from jax_backend.serving.scheduling.rows import accepted_rows
from jax_backend.serving.scheduling.scheduler import Scheduler
from jax_backend.serving.settings import PrefillLayout
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
        segment_size=st.integers(1, 3),
        segments_per_page=st.integers(1, 3),
        sizes=st.sets(st.integers(1, 6), min_size=1),
        mixed_sizes=st.sets(st.integers(1, 6)),
        is_packed=st.booleans(),
        launch_cost=st.integers(0, 40),
        launches_per_decode=st.integers(1, 4),
        drafts=st.booleans(),
    )
    def begin(
        self,
        slots: int,
        spare: int,
        segment_size: int,
        segments_per_page: int,
        sizes: set[int],
        mixed_sizes: set[int],
        is_packed: bool,
        launch_cost: int,
        launches_per_decode: int,
        drafts: bool,
    ) -> None:
        self.context = 12
        page_size = segment_size * segments_per_page
        num_pages = -(-self.context // page_size) + spare
        largest = max(sizes)
        layout = PrefillLayout(
            segment_size=segment_size,
            sizes=tuple(sorted(sizes)) if is_packed else (largest,),
            mixed_sizes=tuple(sorted(n for n in mixed_sizes if n <= largest)) if is_packed else (),
            is_packed=is_packed,
            launch_cost=launch_cost,
            launches_per_decode=launches_per_decode,
        )
        self.scheduler = Scheduler(
            slots=slots,
            num_pages=num_pages,
            page_size=page_size,
            layout=layout,
            context=self.context,
        )
        self.slots = slots
        self.scheduler.row_planner.drafter = ToyDrafter() if drafts else None
        self.device = ToyDevice(num_pages, page_size, layout)
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
        self.completed += [prefill.state.request_id for prefill in plan.completed]

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
        held = [page for holder in [*s.running, *s.prefills.active] for page in holder.pages]
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
    slots: int, num_pages: int, page_size: int, layout: PrefillLayout, context: int
) -> tuple[Scheduler, ToyDevice]:
    scheduler = Scheduler(
        slots=slots, num_pages=num_pages, page_size=page_size, layout=layout, context=context
    )
    return scheduler, ToyDevice(num_pages, page_size, layout)


def segments_of(plans: list[StepPlan]) -> list[list[tuple[int, int, int]]]:
    """Return the request, the start and the number of tokens of each segment of each launch."""
    return [
        [(s.prefill.state.request_id, s.start, s.num_tokens) for s in plan.segments]
        for plan in plans
        if plan.segments
    ]


ONE_SEGMENT = PrefillLayout(segment_size=4, sizes=(1,))
FOUR_SEGMENTS = PrefillLayout(segment_size=4, sizes=(1, 2, 4))


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
    s, device = scheduler_with_device(2, 20, 4, ONE_SEGMENT, 40)
    s.add(0, request([1], max_tokens=12), print)
    s.add(1, request(list(range(21)), max_tokens=1), print)
    plans = run(s, device)
    assert segments_of(plans) == [[(1, start, 4)] for start in (0, 4, 8, 12, 16)]
    assert all(len(p.rows) >= 1 for p in plans)


def test_choices_share_full_pages_and_copy_the_last() -> None:
    s, device = scheduler_with_device(3, 20, 4, FOUR_SEGMENTS, 40)
    s.add(0, request(list(range(7)), n=3, max_tokens=2), print)
    first = s.schedule()
    assert len(first.rows) == 3 and segments_of([first]) == [[(0, 0, 4), (0, 4, 2)]]
    assert len({row.pages[0] for row in first.rows}) == 1
    assert len({row.pages[1] for row in first.rows}) == 3 and len(first.page_copies) == 2
    device.run(first)


def test_prefix_cache_is_isolated_by_principal_and_key() -> None:
    s, device = scheduler_with_device(1, 20, 4, FOUR_SEGMENTS, 40)
    cached = []
    for request_id, (principal, key) in enumerate(
        [("a", None), ("a", None), ("b", None), ("a", "k")]
    ):
        params = CompletionParams(max_tokens=1, prompt_cache_key=key)
        s.add(request_id, Request.of(list(range(10)), params, principal), print)
        plans = run(s, device)
        cached += [prefill.state.cached_tokens for p in plans for prefill in p.completed]
    assert cached == [0, 8, 0, 0]


def test_preempted_sequence_recomputes_the_same_output() -> None:
    s, device = scheduler_with_device(2, 6, 4, FOUR_SEGMENTS, 16)
    states = [s.add(i, request([i, 5], max_tokens=12), print) for i in range(2)]
    plans = run(s, device)
    assert sum(len(p.admitted) for p in plans) > 2
    for state in states:
        assert state.sequences[0].tokens == expected_output(state.request, 0, 12, eos=None)


def test_launch_is_filled_with_the_next_prompts() -> None:
    """Cached pages take no room in it, and it has the smallest size that holds its segments."""
    s, device = scheduler_with_device(3, 20, 4, FOUR_SEGMENTS, 40)
    s.add(0, request(list(range(8)), max_tokens=1), print)
    s.add(1, request([5] * 3, max_tokens=1), print)
    s.add(2, request([6] * 10, max_tokens=1), print)
    plans = run(s, device)
    assert segments_of(plans) == [
        [(0, 0, 4), (0, 4, 3), (1, 0, 2), (2, 0, 4)],
        [(2, 4, 4), (2, 8, 1)],
    ]
    assert [p.num_segments for p in plans if p.segments] == [4, 2]
    s.add(3, request(list(range(9)), max_tokens=1), print)
    assert segments_of(run(s, device)) == [[(3, 4, 4)]]


def test_prompts_of_one_launch_share_their_pages() -> None:
    s, device = scheduler_with_device(2, 20, 4, FOUR_SEGMENTS, 40)
    for request_id in range(2):
        s.add(request_id, request([1, 2, 3, 4, 5, request_id, 7], max_tokens=1), print)
    (launch,) = segments_of(run(s, device))
    assert launch == [(0, 0, 4), (0, 4, 2), (1, 4, 2)]


def test_prompt_does_not_start_without_a_slot_for_it() -> None:
    s, device = scheduler_with_device(2, 20, 4, FOUR_SEGMENTS, 40)
    s.add(0, request([1] * 5, n=2, max_tokens=2), print)
    s.add(1, request([2] * 5, max_tokens=2), print)
    first, *others = run(s, device)
    assert segments_of([first]) == [[(0, 0, 4)]] and segments_of(others) == [[(1, 0, 4)]]


@pytest.mark.parametrize(("launch_cost", "is_mixed"), [(0, False), (30, True)])
def test_rows_share_the_launch_where_that_is_faster(launch_cost: int, is_mixed: bool) -> None:
    layout = PrefillLayout(segment_size=4, sizes=(4,), mixed_sizes=(3, 6), launch_cost=launch_cost)
    s, device = scheduler_with_device(4, 20, 4, layout, 40)
    s.add(0, request([1], max_tokens=9), print)
    run_step(s, device)
    s.add(1, request([2] * 14, n=2, max_tokens=2), print)
    plan = run_step(s, device)
    assert plan.is_mixed is is_mixed and plan.num_segments == (6 if is_mixed else 4)
    # A choice that copies a page has to wait until the launch has written it.
    assert len(plan.rows) == (2 if is_mixed else 3)


def test_running_sequences_wait_while_prompts_fill_launches() -> None:
    layout = PrefillLayout(segment_size=4, sizes=(2,), launches_per_decode=3)
    s, device = scheduler_with_device(8, 40, 4, layout, 40)
    s.add(0, request([1], max_tokens=30), print)
    run_step(s, device)
    for request_id in range(1, 6):
        s.add(request_id, request([request_id] * 9, max_tokens=9), print)
    plans = [run_step(s, device) for _ in range(6)]
    assert [len(plan.segments) for plan in plans] == [2, 2, 2, 2, 2, 0]
    # The last launch leaves no prompts behind, so the rows need not wait for it.
    assert [len(plan.rows) for plan in plans] == [0, 0, 4, 0, 6, 6]


def test_running_sequences_do_not_wait_for_prompts_without_slots() -> None:
    layout = PrefillLayout(segment_size=4, sizes=(2,), launches_per_decode=3)
    s, device = scheduler_with_device(2, 40, 4, layout, 40)
    s.add(0, request([1], max_tokens=30), print)
    run_step(s, device)
    for request_id in range(1, 6):
        s.add(request_id, request([request_id] * 9, max_tokens=9), print)
    assert [len(run_step(s, device).rows) for _ in range(3)] == [2, 2, 2]


def test_place_in_an_unpacked_launch_depends_on_the_position_only() -> None:
    layout = PrefillLayout(segment_size=4, sizes=(2,), is_packed=False)
    s, device = scheduler_with_device(2, 20, 4, layout, 40)
    s.add(0, request(list(range(5)), max_tokens=1), print)
    s.add(1, request(list(range(12)), max_tokens=1), print)
    indices = [[segment.index for segment in p.segments] for p in run(s, device) if p.segments]
    assert indices == [[0], [1], [0]]


def test_pages_of_the_request_itself_are_not_reported_as_a_cache_hit() -> None:
    """An older request preempts a prefill, which then starts again."""
    s, device = scheduler_with_device(2, 4, 4, ONE_SEGMENT, 16)
    s.add(0, request([1, 2, 3], max_tokens=7), print)
    for _ in range(2):
        run_step(s, device)
    late = s.add(1, request(list(range(20, 33)), max_tokens=1), print)
    prefills = [segment.prefill for p in run(s, device) for segment in p.segments]
    assert len({id(prefill) for prefill in prefills if prefill.state is late}) == 2
    assert late.cached_tokens == 0


def test_prompt_that_fills_the_context_is_refused() -> None:
    s, _ = scheduler_with_device(1, 4, 4, ONE_SEGMENT, 16)
    with pytest.raises(ValueError, match="prompt"):
        s.add(0, request([1] * 16), print)
    with pytest.raises(ValueError, match="num_pages"):
        scheduler_with_device(1, 3, 4, ONE_SEGMENT, 16)
