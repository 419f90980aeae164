"""Chunked prefill: the queue of prompts, and their chunks. Plain Python."""

import time
from math import gcd

from jax_backend.serving.fairness import TokenCounters
from jax_backend.serving.page_pool import PagePool
from jax_backend.serving.plan import Prefill, PrefillChunk, RequestState, Sequence


class PrefillQueue:
    """Prompts that wait for prefill, and the one in prefill. chunk_sizes: compiled sizes in tokens,
    ascending. counters: the tokens that each principal has got.

    Preempted requests are first, in the order in which they started. Then come the requests of the
    principal that has got the fewest tokens (of two, the one with fewer requests), in the order of
    arrival.

    Chunks begin at multiples of the largest size, wherever the cached prefix ends, and each has the
    smallest size that holds its piece of the prompt. So a token's chunk size and its offset in the
    chunk, on which its rounding may depend, depend only on the prompt. Cached tokens keep their
    offset and are not written again. A smaller chunk, which ends a prompt, must not complete a
    page: a longer prompt could share it, and would have a larger chunk there. So the smaller sizes
    are below the greatest common divisor of the largest size and the page size.
    """

    def __init__(
        self,
        pool: PagePool,
        counters: TokenCounters,
        page_size: int,
        chunk_sizes: tuple[int, ...],
    ) -> None:
        divisor = gcd(page_size, chunk_sizes[-1])
        if any(size >= divisor for size in chunk_sizes[:-1]):
            raise ValueError(
                f"chunk_sizes: all but the largest must be below {divisor}, the greatest common "
                f"divisor of the largest and the page size {page_size}, got {chunk_sizes}"
            )
        self.pool, self.page_size, self.chunk_sizes = pool, page_size, chunk_sizes
        self.counters = counters
        self.waiting: list[Prefill] = []
        self.current: Prefill | None = None
        self.num_started = 0
        self.num_queried_tokens = self.num_cached_tokens = 0  # of the prefix cache

    def __bool__(self) -> bool:
        return bool(self.waiting or self.current)

    def add(self, prefill: Prefill) -> None:
        self.waiting.append(prefill)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence from the prefill that it waits for."""
        for prefill in [*self.waiting, self.current]:
            if prefill and sequence in prefill.sequences:
                prefill.sequences.remove(sequence)
                if not prefill.sequences:
                    self.discard(prefill)

    def discard(self, prefill: Prefill) -> None:
        """Drop a prefill and release its pages."""
        if prefill is self.current:
            self.pool.release(prefill.pages)
            self.current = None
        else:
            self.waiting.remove(prefill)

    def requeue(self, prefill: Prefill) -> None:
        """Give up a prefill's pages; its sequences that are left wait for a new one."""
        self.discard(prefill)
        if prefill.sequences:
            self.add(Prefill(prefill.state, prefill.sequences))

    def next_chunk(self, may_start: bool) -> PrefillChunk | None:
        """Return the next chunk of the current prefill, as far as there are pages for it.

        may_start: whether a waiting prefill may become the current one.
        """
        if self.current is None and self.waiting and may_start:
            first = min(self.waiting, key=self._priority)
            self.waiting.remove(first)
            self.current = self._start(first)
        prefill = self.current
        if prefill is None or prefill.position >= prefill.end:
            return None
        # Chunks lie on a fixed grid. If the cached prefix ends within one, the chunk is computed
        # from its start all the same, and its cached tokens are not written again.
        largest = self.chunk_sizes[-1]
        start = prefill.position - prefill.position % largest
        end = min(start + largest, prefill.end)
        size = next(size for size in self.chunk_sizes if size >= end - start)
        while len(prefill.pages) * self.page_size < end:
            page = self.pool.allocate()
            if page is None:
                break
            prefill.pages.append(page)
        # With too few pages, process the tokens that fit. A later step continues the same chunk, in
        # the same size.
        end = min(end, len(prefill.pages) * self.page_size)
        if end <= prefill.position:
            return None
        num_cached, pages = prefill.position - start, tuple(prefill.pages)
        chunk = PrefillChunk(prefill, start, num_cached, end - start, size, pages)
        prefill.position = end
        # Full pages can be matched from here on: the device executes steps in order.
        num_full = end // self.page_size
        hashes = prefill.state.block_hashes[:num_full]
        for page, block_hash in zip(prefill.pages[:num_full], hashes, strict=True):
            self.pool.cache(page, block_hash)
        return chunk

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

    def completed(self) -> Prefill | None:
        """Return the current prefill if it is complete, for the first time of its request."""
        prefill = self.current
        if prefill is None or prefill.position < prefill.end or prefill.state.prompt_reported:
            return None
        prefill.state.prompt_reported = True
        return prefill
