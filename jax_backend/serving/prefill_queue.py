"""Chunked prefill: the queue of prompts, and their chunks. Plain Python."""

from collections import deque
from math import gcd

from jax_backend.serving.page_pool import PagePool
from jax_backend.serving.plan import Prefill, PrefillChunk, Sequence


class PrefillQueue:
    """Prompts that wait for prefill, and the one in prefill. chunk_sizes: compiled sizes in tokens,
    ascending.

    Chunks begin at multiples of the largest size, wherever the cached prefix ends, and each has the
    smallest size that holds its piece of the prompt. So a token's chunk size and its offset in the
    chunk, on which its rounding may depend, depend only on the prompt. Cached tokens keep their
    offset and are not written again. A smaller chunk, which ends a prompt, must not complete a
    page: a longer prompt could share it, and would have a larger chunk there. So the smaller sizes
    are below the greatest common divisor of the largest size and the page size.
    """

    def __init__(self, pool: PagePool, page_size: int, chunk_sizes: tuple[int, ...]) -> None:
        divisor = gcd(page_size, chunk_sizes[-1])
        if any(size >= divisor for size in chunk_sizes[:-1]):
            raise ValueError(
                f"chunk_sizes: all but the largest must be below {divisor}, the greatest common "
                f"divisor of the largest and the page size {page_size}, got {chunk_sizes}"
            )
        self.pool, self.page_size, self.chunk_sizes = pool, page_size, chunk_sizes
        self.waiting: deque[Prefill] = deque()  # the oldest request first
        self.current: Prefill | None = None

    def __bool__(self) -> bool:
        return bool(self.waiting or self.current)

    def add(self, prefill: Prefill) -> None:
        """Insert a prefill by the age of its request."""
        older = sum(p.state.request_id < prefill.state.request_id for p in self.waiting)
        self.waiting.insert(older, prefill)

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
            self.current = self._start(self.waiting.popleft())
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
        if state.cached_tokens is None:  # a later prefill may match pages of its own request
            state.cached_tokens = prefill.position
        return prefill

    def completed(self) -> Prefill | None:
        """Return the current prefill if it is complete, for the first time of its request."""
        prefill = self.current
        if prefill is None or prefill.position < prefill.end or prefill.state.prompt_reported:
            return None
        prefill.state.prompt_reported = True
        return prefill
