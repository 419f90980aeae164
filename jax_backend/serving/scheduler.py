"""The scheduler: decides what the next step does. Plain Python, no device arrays.

A request becomes a `RequestState` with a `Sequence` for each of its `n` choices. A `Prefill`
processes its prompt, except for the last token, once, in segments. Then each sequence gets a batch
slot, shares the full pages of the prefill, and decodes from the prompt's last token on, one token
per step.

A step has at most one prefill launch, which holds segments of as many prompts as fit, and one
decode row for every running sequence. So prompts are prefilled as fast as the device can, at the
latency of one prefill launch per output token of the sequences that run meanwhile. The rows are
decoded in the prefill launch if that is expected to take less time than two launches. The time of a
launch is modeled as its rows, padding included, and `launch_cost` more: reading the weights takes
as long as the products of that many rows.

Waiting requests start in an order that is fair between principals (`fairness`). When pages run out,
the sequence that started last is preempted: it gives up its pages and its slot. Later its prompt is
prefilled again, and its output tokens are decoded again one by one, by the same computations as
before, so its output is unchanged. The request that started first is never preempted, so every
request finishes.
"""

from collections.abc import Callable

from jax_backend.prefix_cache import block_hashes
from jax_backend.serving.fairness import TokenCounters
from jax_backend.serving.page_pool import PagePool
from jax_backend.serving.plan import (
    DecodeRow,
    Prefill,
    PrefillSegment,
    RequestState,
    Sequence,
    StepPlan,
)
from jax_backend.serving.prefill_queue import PrefillQueue
from jax_backend.serving.settings import PrefillLayout
from jax_backend.stopping import token_budget
from reference.request import EngineStats, Event, Request


class Scheduler:
    """The state of all unfinished requests: waiting, in prefill, or running.

    slots: maximum number of running sequences. num_pages, page_size: of the KV cache. layout: of
    prefill launches. batch_sizes: of launches that only decode, ascending; by default `slots` only.
    cache_output: whether the pages of generated tokens can be matched, too. context: maximum
    sequence length.
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
        self.batch_sizes, self.cache_output = batch_sizes or (slots,), cache_output
        self.num_slots, self.free_slots = slots, list(range(slots - 1, -1, -1))
        self.counters = TokenCounters()
        self.prefills = PrefillQueue(self.pool, self.counters, page_size, layout)
        self.running: list[Sequence] = []
        self.num_preemptions = 0

    def add(
        self, request_id: int, request: Request, on_event: Callable[[Event], None]
    ) -> RequestState:
        """Queue a request. Raises ValueError if its prompt leaves no room for a token."""
        budget = token_budget(request.params.max_tokens, self.context, len(request.prompt))
        # Prefill leaves out the last prompt token, and so the page that it would complete.
        num_full = (len(request.prompt) - 1) // self.page_size
        hashes = block_hashes(request, self.page_size)[:num_full]
        state = RequestState(request_id, request, on_event, budget, hashes)
        state.sequences = [Sequence(state, i) for i in range(request.params.n)]
        self.counters.add_request(request.principal)
        self.prefills.add(Prefill(state, list(state.sequences)))
        return state

    @property
    def busy(self) -> bool:
        return bool(self.prefills or self.running)

    def schedule(self) -> StepPlan:
        """Plan the next step and allocate what it needs."""
        for sequence in [s for s in self.running if not s.is_fully_scheduled]:
            self._ensure_page(sequence)
        slots = 0 if self._free_pages_for_first_prefill() else len(self.free_slots)
        num_decoding = sum(not s.is_fully_scheduled for s in self.running)
        may_mix = bool(num_decoding and self.layout.mixed_sizes)
        sizes = self.layout.mixed_sizes if may_mix else self.layout.sizes
        segments = self.prefills.next_segments(slots, sizes[-1])
        is_mixed = may_mix and bool(segments) and self._mixing_pays(len(segments), num_decoding)
        completed = self.prefills.completed()
        page_copies, admitted, copied = self._admit_sequences()
        decoding = [
            s for s in self.running if not s.is_fully_scheduled and not (is_mixed and s in copied)
        ]
        return StepPlan(
            segments=segments,
            num_segments=self._launch_size(segments, is_mixed),
            completed=completed,
            page_copies=page_copies,
            admitted=admitted,
            rows=tuple(map(self._decode_row, decoding)),
            is_mixed=is_mixed,
        )

    def finish(self, sequence: Sequence) -> None:
        """End a sequence. Its pages and its slot are free for the next steps."""
        sequence.finished = True
        if sequence.slot is not None:
            self._remove_from_batch(sequence)
        self.prefills.remove(sequence)
        if sequence.state.finished:
            self.counters.remove_request(sequence.state.request.principal)

    def _mixing_pays(self, num_segments: int, num_rows: int) -> bool:
        """Return whether one launch is expected to take less time than two."""
        layout = self.layout
        mixed = smallest(layout.mixed_sizes, num_segments) * layout.segment_size + self.num_slots
        prefill = smallest(layout.sizes, num_segments) * layout.segment_size
        decode = smallest(self.batch_sizes, num_rows)
        return mixed < prefill + decode + layout.launch_cost

    def _launch_size(self, segments: tuple[PrefillSegment, ...], is_mixed: bool) -> int:
        """Return the compiled size of a prefill launch, in segments."""
        if not segments:
            return 0
        sizes = self.layout.mixed_sizes if is_mixed else self.layout.sizes
        return smallest(sizes, segments[-1].index + 1)

    def _free_pages_for_first_prefill(self) -> bool:
        """Make the prefill that started last give up its pages if an older one waits for a page and
        no sequence runs, whose pages would be released. Return whether it did: no prefill may start
        before the older one has its page.
        """
        active = self.prefills.active
        is_stuck = len(active) > 1 and not self.running and not self.pool.num_available
        if is_stuck:
            self.prefills.requeue(active[-1])
        return is_stuck

    def _ensure_page(self, sequence: Sequence) -> None:
        """Allocate a page for the position of a running sequence, preempting sequences that started
        later if need be. If it is the last one, it is preempted itself.
        """
        while sequence.slot is not None and sequence.position // self.page_size >= len(
            sequence.pages
        ):
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
            self._cache_output(sequence)
        self.pool.release(sequence.pages)
        assert sequence.slot is not None
        self.free_slots.append(sequence.slot)
        sequence.pages, sequence.slot = [], None

    def _cache_output(self, sequence: Sequence) -> None:
        """Register the pages that a sequence has filled by decoding."""
        state, size = sequence.state, self.page_size
        output = sequence.tokens[: max(0, sequence.position - len(state.prompt))]
        hashes = block_hashes(state.request, size, output, state.block_hashes)
        for page, block_hash in zip(sequence.pages, hashes, strict=False):
            self.pool.cache(page, block_hash)

    def _admit_sequences(
        self,
    ) -> tuple[tuple[tuple[int, int], ...], tuple[Sequence, ...], list[Sequence]]:
        """Give slots to sequences whose prefill is complete. Return the page copies that this
        needs, the sequences, and those of them that use a copy.
        """
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
        return tuple(copies), tuple(admitted), copied

    def _fork_sequence(self, prefill: Prefill, copies: list[tuple[int, int]]) -> Sequence | None:
        """Give the next sequence of a prefill its pages, up to the one that it writes to first.
        Return None if there is no page for that one.
        """
        num_full, remainder = divmod(prefill.end, self.page_size)
        is_last = len(prefill.sequences) == 1
        # The last sequence takes over the partly filled page. The others need a page each: a copy
        # of it or, if prefill ends at a page boundary, an empty one.
        page = None if is_last and remainder else self.pool.allocate()
        # If nothing else is running, no page will be released, so a sequence takes over the partly
        # filled page, too.
        if page is None and not (remainder and (is_last or not self.running)):
            return None
        sequence = prefill.sequences.pop(0)
        sequence.pages = list(prefill.pages)
        self.pool.retain(sequence.pages)
        if page is not None:
            self.pool.release(sequence.pages[num_full:])
            sequence.pages[num_full:] = [page]
            copies += [(prefill.pages[num_full], page)] if remainder else []
        if page is None or not prefill.sequences:
            self.prefills.requeue(prefill)  # the sequences that are left have nothing to copy
        return sequence

    def _decode_row(self, sequence: Sequence) -> DecodeRow:
        assert sequence.slot is not None
        token, pages = sequence.next_input(), tuple(sequence.pages)
        row = DecodeRow(sequence, sequence.slot, sequence.position, token, pages)
        sequence.position += 1
        if row.is_needed:
            self.counters.charge(sequence.state.request.principal, 1)
        return row


def smallest(sizes: tuple[int, ...], count: int) -> int:
    """Return the smallest of ascending sizes that holds `count`."""
    return next(size for size in sizes if size >= count)


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
    )
