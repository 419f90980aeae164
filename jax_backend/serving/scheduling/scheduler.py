"""The scheduler: decides what the next step does. Plain Python, no device arrays.

A request becomes a `RequestState` with a `Sequence` for each of its `n` choices. A `Prefill`
processes its prompt, except for the last token, once, in segments. Then each sequence gets a batch
slot, shares the full pages of the prefill, and decodes from the prompt's last token on, one token
per step.

A step has at most one prefill launch, which holds segments of as many prompts as fit, and one
decode row for every running sequence (`launches`), or more if it verifies drafts (`rows`).

Waiting requests start in an order that is fair between principals (`fairness`). When pages run out,
the sequence that started last is preempted: it gives up its pages and its slot. Later its prompt is
prefilled again, and its output tokens are decoded again one by one, by the same computations as
before, so its output is unchanged. The request that started first is never preempted, so every
request finishes.
"""

from collections.abc import Callable
from typing import NamedTuple

from jax_backend.prefix_cache import block_hashes
from jax_backend.serving.scheduling.fairness import TokenCounters
from jax_backend.serving.scheduling.launches import LaunchPolicy
from jax_backend.serving.scheduling.page_pool import PagePool
from jax_backend.serving.scheduling.page_sharing import cache_output, fork_pages
from jax_backend.serving.scheduling.plan import Prefill, RequestState, Sequence, StepPlan
from jax_backend.serving.scheduling.prefill_queue import PrefillQueue
from jax_backend.serving.scheduling.rows import RowPlanner
from jax_backend.serving.settings import PrefillLayout
from jax_backend.stopping import token_budget
from reference.request import EngineStats, Event, Request


class Admission(NamedTuple):
    """Sequences that get a slot, the page copies that they need, and those that use a copy."""

    page_copies: tuple[tuple[int, int], ...]
    admitted: tuple[Sequence, ...]
    copied: list[Sequence]


class Scheduler:
    """The state of all unfinished requests: waiting, in prefill, or running.

    slots: maximum number of running sequences. num_pages, page_size: of the KV cache. layout: of
    prefill launches. batch_sizes: of decode launches, ascending; by default `slots` only.
    cache_output: whether prompts can match pages of generated tokens. context: maximum length.
    """

    def __init__(
        self,
        *,
        slots: int,
        num_pages: int,
        page_size: int,
        layout: PrefillLayout,
        context: int,
        batch_sizes: tuple[int, ...] = (),
        cache_output: bool = False,
    ) -> None:
        if num_pages * page_size < context:
            raise ValueError(
                f"num_pages: must hold the context of {context} tokens, "
                f"got {num_pages} pages of {page_size}"
            )
        self.pool = PagePool(num_pages)
        self.page_size, self.context, self.layout = page_size, context, layout
        self.cache_output = cache_output
        self.free_slots = list(range(slots - 1, -1, -1))
        self.counters = TokenCounters()
        self.prefills = PrefillQueue(self.pool, self.counters, page_size, layout)
        self.row_planner = RowPlanner(self.pool, self.counters, page_size, max_rows=slots)
        self.running: list[Sequence] = []
        self.num_preemptions = 0
        self.launch_policy = LaunchPolicy(layout, batch_sizes or (slots,))

    def add(
        self, request_id: int, request: Request, on_event: Callable[[Event], None]
    ) -> RequestState:
        """Queue a request. Raises ValueError if its prompt leaves no room for a token."""
        state = request_state(request_id, request, on_event, self.context, self.page_size)
        self.counters.add_request(request.principal)
        self.prefills.add(Prefill(state, list(state.sequences)))
        return state

    @property
    def busy(self) -> bool:
        return bool(self.prefills or self.running)

    def schedule(self) -> StepPlan:
        """Plan the next step and allocate what it needs. `must_wait` says whether the outputs of
        the last one have to be processed before.
        """
        self.row_planner.release_spare_pages(self.running)
        for sequence in [s for s in self._decoding if lacks_page(s, self.page_size)]:
            self._ensure_page(sequence)
        is_stuck = not self.running and self.prefills.requeue_if_stuck()
        slots = 0 if is_stuck else len(self.free_slots)
        num_rows, policy = len(self._decoding), self.launch_policy
        waits = policy.decode_may_wait(self.prefills, slots)
        segments = self.prefills.next_segments(slots, policy.limit(num_rows, waits))
        is_mixed = policy.mixes(len(segments), num_rows, waits)
        completed = self.prefills.completed()
        page_copies, admitted, copied = self._admit_sequences()
        waits = policy.record(waits and bool(segments))
        # A copied page has its content after a mixed launch.
        later = self.running if waits else copied if is_mixed else []
        return StepPlan(
            segments=segments,
            num_segments=policy.launch_size(segments, is_mixed),
            completed=completed,
            page_copies=page_copies,
            admitted=admitted,
            rows=self.row_planner.plan([s for s in self._decoding if s not in later]),
            is_mixed=is_mixed,
        )

    def must_wait(self, in_flight: StepPlan) -> bool:
        """Return whether to process the outputs of a step before the next one is planned."""
        return self.row_planner.must_wait(in_flight, self._decoding)

    def finish(self, sequence: Sequence) -> None:
        """End a sequence. Its pages and its slot are free for the next steps."""
        sequence.finished = True
        if sequence.slot is not None:
            self._remove_from_batch(sequence)
        self.prefills.remove(sequence)
        if sequence.state.finished:
            self.counters.remove_request(sequence.state.request.principal)

    @property
    def _decoding(self) -> list[Sequence]:
        return [s for s in self.running if not s.is_fully_scheduled]

    def _ensure_page(self, sequence: Sequence) -> None:
        """Allocate a page for the position of a running sequence, preempting sequences that started
        later if need be. If it is the last one, it is preempted itself.
        """
        while sequence.slot is not None and lacks_page(sequence, self.page_size):
            page, active = self.pool.allocate(), self.prefills.active
            if page is not None:
                sequence.pages.append(page)
            elif active and active[-1].pages and start_order(active[-1]) >= start_order(sequence):
                self.prefills.requeue(active[-1])
            else:
                self._preempt(max(self.running, key=lambda s: (start_order(s), s.index)))

    def _preempt(self, sequence: Sequence) -> None:
        self.num_preemptions += 1
        self._remove_from_batch(sequence)
        self.prefills.add(Prefill(sequence.state, [sequence]))

    def _remove_from_batch(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        if self.cache_output:
            cache_output(self.pool, sequence, self.page_size)
        self.pool.release(sequence.pages)
        assert sequence.slot is not None
        self.free_slots.append(sequence.slot)
        sequence.pages, sequence.slot = [], None

    def _admit_sequences(self) -> Admission:
        """Give slots to sequences whose prefill is complete."""
        copies: list[tuple[int, int]] = []
        admitted: list[Sequence] = []
        copied: list[Sequence] = []
        while self.prefills.active and self.free_slots:
            prefill, num_copies = self.prefills.active[0], len(copies)
            if prefill.is_incomplete:
                break
            sequence = self._fork_sequence(prefill, copies)
            if sequence is None:
                break
            sequence.position = len(sequence.state.prompt) - 1
            sequence.slot = self.free_slots.pop()
            self.running.append(sequence)
            admitted.append(sequence)
            copied += [sequence] if len(copies) > num_copies else []
        return Admission(tuple(copies), tuple(admitted), copied)

    def _fork_sequence(self, prefill: Prefill, copies: list[tuple[int, int]]) -> Sequence | None:
        """Give the next sequence of a prefill its pages. Return None if there is no page for it."""
        forked = fork_pages(self.pool, prefill, self.page_size, must_fit=not self.running)
        if forked is None:
            return None
        sequence = prefill.sequences.pop(0)
        sequence.pages = forked.pages
        copies += forked.copies
        if forked.took_over or not prefill.sequences:
            self.prefills.requeue(prefill)  # the sequences that are left have nothing to copy
        return sequence


def lacks_page(sequence: Sequence, page_size: int) -> bool:
    """Return whether a sequence has no page for the position that it writes next."""
    return sequence.position // page_size >= len(sequence.pages)


def request_state(
    request_id: int,
    request: Request,
    on_event: Callable[[Event], None],
    context: int,
    page_size: int,
) -> RequestState:
    """Return the state of a new request. Raises ValueError if its prompt leaves no room."""
    budget = token_budget(request.params.max_tokens, context, len(request.prompt))
    # Prefill leaves out the last prompt token, and so the page that it would complete.
    hashes = block_hashes(request, page_size)[: (len(request.prompt) - 1) // page_size]
    state = RequestState(request_id, request, on_event, budget, hashes)
    state.sequences = [Sequence(state, i) for i in range(request.params.n)]
    return state


def start_order(work: Prefill | Sequence) -> int:
    """Return how many requests started before that of a prefill or sequence which has started."""
    assert work.state.start_order is not None
    return work.state.start_order


def engine_stats(scheduler: Scheduler, unfinished: int) -> EngineStats:
    """Return the load and the counts of a healthy engine. May be called on any thread.

    unfinished: the number of requests that the engine has, with those not yet in the scheduler.
    """
    running = len({sequence.state.request_id for sequence in list(scheduler.running)})
    return EngineStats(
        healthy=True,
        running=running,
        waiting=max(0, unfinished - running),
        kv_cache_usage=scheduler.pool.usage,
        preemptions=scheduler.num_preemptions,
        prefix_cache_queries=scheduler.prefills.num_queried_tokens,
        prefix_cache_hits=scheduler.prefills.num_cached_tokens,
        draft_tokens=scheduler.row_planner.num_drafted,
        accepted_draft_tokens=scheduler.row_planner.num_accepted,
    )
