"""Packed prefill: the queue of prompts, and the segments of a launch. Plain Python."""

import time

from jax_backend.serving.scheduling.fairness import TokenCounters
from jax_backend.serving.scheduling.page_pool import PagePool
from jax_backend.serving.scheduling.plan import (
    Prefill,
    PrefillSegment,
    RequestState,
    Sequence,
    num_pending,
)
from jax_backend.serving.settings import PrefillLayout


class PrefillQueue:
    """Prompts that wait for prefill, and those in prefill. counters: the tokens of each principal.

    Preempted requests are first, in the order in which they started. Then come the requests of the
    principal that has got the fewest tokens (of two, the one with fewer requests), in the order of
    arrival.

    active: the prompts in prefill, in the order in which they started. Only the last one may be
    incomplete: the others wait for slots or pages for their sequences.

    Segments begin at multiples of the segment size, so a token's place in its segment depends only
    on its position. A page holds whole segments.
    """

    def __init__(
        self, pool: PagePool, counters: TokenCounters, page_size: int, layout: PrefillLayout
    ) -> None:
        self.pool, self.counters = pool, counters
        self.page_size, self.layout = page_size, layout
        self.waiting: list[Prefill] = []
        self.active: list[Prefill] = []
        self.num_started = 0
        self.num_queried_tokens = self.num_cached_tokens = 0  # of the prefix cache

    def __bool__(self) -> bool:
        return bool(self.waiting or self.active)

    def add(self, prefill: Prefill) -> None:
        self.waiting.append(prefill)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence from the prefill that it waits for."""
        for prefill in [*self.waiting, *self.active]:
            if sequence in prefill.sequences:
                prefill.sequences.remove(sequence)
                if not prefill.sequences:
                    self.discard(prefill)

    def discard(self, prefill: Prefill) -> None:
        """Drop a prefill and release its pages."""
        if prefill in self.active:
            self.pool.release(prefill.pages)
            self.active.remove(prefill)
        else:
            self.waiting.remove(prefill)

    def requeue(self, prefill: Prefill) -> None:
        """Give up a prefill's pages; its sequences that are left wait for a new one."""
        self.discard(prefill)
        if prefill.sequences:
            self.add(Prefill(prefill.state, prefill.sequences))

    def requeue_if_stuck(self) -> bool:
        """If a prefill waits for a page, and no sequence runs whose pages would be released, make
        the prefill that started last give up its own. Return whether it did: until the older one
        has its page, none may start.
        """
        is_stuck = len(self.active) > 1 and not self.pool.num_available
        if is_stuck:
            self.requeue(self.active[-1])
        return is_stuck

    def next_segments(self, free_slots: int, limit: int) -> tuple[PrefillSegment, ...]:
        """Return the segments of the next launch, as far as there are pages for them. Prompts are
        started while there is room, and a slot for one more sequence.

        limit: the maximum number of segments.
        """
        segments: list[PrefillSegment] = []
        while len(segments) < limit:
            if not (self.active and self.active[-1].is_incomplete):
                if not self.waiting or num_pending(self.active) >= free_slots:
                    break
                first = min(self.waiting, key=self._priority)
                self.waiting.remove(first)
                self.active.append(self._start(first))
            prefill = self.active[-1]
            segments += self._segments_of(prefill, len(segments), limit)
            if prefill.is_incomplete or (segments and not self.layout.is_packed):
                break
        return tuple(segments)

    def completed(self) -> tuple[Prefill, ...]:
        """Return the prefills that are complete, each for the first time of its request."""
        complete = [
            prefill
            for prefill in self.active
            if not (prefill.is_incomplete or prefill.state.prompt_reported)
        ]
        for prefill in complete:
            prefill.state.prompt_reported = True
        return tuple(complete)

    def _segments_of(self, prefill: Prefill, index: int, limit: int) -> list[PrefillSegment]:
        """Return the next segments of a prefill, for the places from `index` on in a launch."""
        size, segments = self.layout.segment_size, []
        if not self.layout.is_packed:
            index = prefill.position // size % limit
        while prefill.is_incomplete and index < limit:
            end = min(prefill.position + size, prefill.end)
            if len(prefill.pages) * self.page_size < end:
                page = self.pool.allocate()
                if page is None:
                    break
                prefill.pages.append(page)
            pages = tuple(prefill.pages)
            start, prefill.position = prefill.position, end
            segments.append(PrefillSegment(prefill, index, start, end - start, pages))
            index += 1
        # Full pages can be matched from here on. The device executes steps in order, and a launch
        # writes the keys and values of a layer before it reads them.
        num_full = prefill.position // self.page_size
        hashes = prefill.state.block_hashes[:num_full]
        for page, block_hash in zip(prefill.pages[:num_full], hashes, strict=True):
            self.pool.cache(page, block_hash)
        return segments

    def _priority(self, prefill: Prefill) -> tuple[int, ...]:
        """Return the key of a waiting prefill: the lowest is started first."""
        state = prefill.state
        if state.start_order is not None:
            return (0, state.start_order)
        principal = state.request.principal
        served, unfinished = self.counters.served[principal], self.counters.unfinished[principal]
        return (1, served, unfinished, state.request_id)

    def _start(self, prefill: Prefill) -> Prefill:
        """Begin after the longest cached prefix, or at the first token if the log-probabilities of
        the prompt are requested.
        """
        state = prefill.state
        if state.request.wants_prompt_logprobs and not state.prompt_reported:
            prefill.prompt_logprobs = [None]
        else:
            prefill.pages = self.pool.match_prefix(state.block_hashes)
            self.pool.retain(prefill.pages)
        prefill.position = len(prefill.pages) * self.page_size
        if state.start_order is None:  # a later prefill may match pages of its own request
            self._count_start(state, prefill.position)
        return prefill

    def _count_start(self, state: RequestState, cached_tokens: int) -> None:
        """Count the first prefill of a request. Cached tokens cost its principal nothing."""
        state.start_time, state.start_order = time.monotonic(), self.num_started
        state.cached_tokens = cached_tokens
        self.num_started += 1
        self.num_queried_tokens += len(state.prompt)
        self.num_cached_tokens += cached_tokens
        self.counters.charge(state.request.principal, len(state.prompt) - cached_tokens)
