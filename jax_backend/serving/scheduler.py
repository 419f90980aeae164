"""The scheduler: decides what the next step does. Plain Python, no device arrays.

A request becomes a `RequestState` with a `Sequence` for each of its `n` choices. A `Prefill`
processes its prompt, except for the last token, once, in chunks. Then each sequence gets a batch
slot, shares the full pages of the prefill, and decodes from the prompt's last token on, one token
per step. A step has at most one prefill chunk, and one decode row for every running sequence.

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
from jax_backend.serving.plan import DecodeRow, Prefill, RequestState, Sequence, StepPlan
from jax_backend.serving.prefill_queue import PrefillQueue
from jax_backend.stopping import token_budget
from reference.request import EngineStats, Event, Request


class Scheduler:
    """The state of all unfinished requests: waiting, in prefill, or running.

    slots: maximum number of running sequences. num_pages, page_size: of the KV cache. chunk_sizes:
    see `PrefillQueue`. context: maximum sequence length.
    """

    def __init__(
        self,
        *,
        slots: int,
        num_pages: int,
        page_size: int,
        chunk_sizes: tuple[int, ...],
        context: int,
    ) -> None:
        if num_pages * page_size < context:
            raise ValueError(
                f"num_pages: must hold the context of {context} tokens, "
                f"got {num_pages} pages of {page_size}"
            )
        self.pool = PagePool(num_pages)
        self.page_size, self.context = page_size, context
        self.free_slots = list(range(slots - 1, -1, -1))
        self.counters = TokenCounters()
        self.prefills = PrefillQueue(self.pool, self.counters, page_size, chunk_sizes)
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
        for sequence in [s for s in self.running if self._needs_page(s)]:
            self._ensure_page(sequence)
        chunk = self.prefills.next_chunk(may_start=bool(self.free_slots))
        completed = self.prefills.completed()
        page_copies, admitted = self._admit_sequences()
        decoding = [s for s in self.running if s.slot is not None and not s.is_fully_scheduled]
        rows = tuple(map(self._decode_row, decoding))
        return StepPlan(chunk, completed, page_copies, admitted, rows)

    def finish(self, sequence: Sequence) -> None:
        """End a sequence. Its pages and its slot are free for the next steps."""
        sequence.finished = True
        if sequence.slot is not None:
            self._remove_from_batch(sequence)
        self.prefills.remove(sequence)
        if sequence.state.finished:
            self.counters.remove_request(sequence.state.request.principal)

    def _needs_page(self, sequence: Sequence) -> bool:
        """Return whether a running sequence has no page for its position."""
        is_full = sequence.position // self.page_size >= len(sequence.pages)
        return is_full and not sequence.is_fully_scheduled

    def _ensure_page(self, sequence: Sequence) -> None:
        """Allocate a page for the position of a running sequence, preempting sequences that started
        later if need be. If it is the last one, it is preempted itself.
        """
        while sequence.slot is not None and self._needs_page(sequence):
            page, prefill = self.pool.allocate(), self.prefills.current
            if page is not None:
                sequence.pages.append(page)
            elif prefill and prefill.pages and start_order(prefill) >= start_order(sequence):
                self.prefills.requeue(prefill)
            else:
                self._preempt(max(self.running, key=lambda s: (start_order(s), s.index)))

    def _preempt(self, sequence: Sequence) -> None:
        self.num_preemptions += 1
        self._remove_from_batch(sequence)
        self.prefills.add(Prefill(sequence.state, [sequence]))

    def _remove_from_batch(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.pool.release(sequence.pages)
        assert sequence.slot is not None
        self.free_slots.append(sequence.slot)
        sequence.pages, sequence.slot = [], None

    def _admit_sequences(self) -> tuple[tuple[tuple[int, int], ...], tuple[Sequence, ...]]:
        """Give slots to sequences whose prefill is complete. Return the page copies that this
        needs, and the sequences.
        """
        copies: list[tuple[int, int]] = []
        admitted: list[Sequence] = []
        while (prefill := self.prefills.current) and self.free_slots:
            if prefill.position < prefill.end:
                break
            sequence = self._fork_sequence(prefill, copies)
            if sequence is None:
                break
            sequence.position = len(sequence.state.prompt) - 1
            sequence.slot = self.free_slots.pop()
            self.running.append(sequence)
            admitted.append(sequence)
        return tuple(copies), tuple(admitted)

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
