"""Allocator of KV cache pages. Plain Python: the pages themselves are on the device.

A page is free, referenced by a number of sequences, or evictable: unreferenced, but cached under
its block hash (`jax_backend.prefix_cache`) until its memory is needed. Page 0 is the null page,
which padding is written to (`jax_backend.model.attention.base`).
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence


class PagePool:
    """`num_pages` pages, numbered from 1."""

    def __init__(self, num_pages: int) -> None:
        self.num_pages = num_pages
        self.free = list(range(num_pages, 0, -1))
        self.ref_counts: Counter[int] = Counter()
        self.page_by_hash: dict[bytes, int] = {}
        self.hash_by_page: dict[int, bytes] = {}
        self.evictable: OrderedDict[int, None] = OrderedDict()  # the first is evicted first

    @property
    def num_available(self) -> int:
        """Return how many pages can be allocated."""
        return len(self.free) + len(self.evictable)

    @property
    def usage(self) -> float:
        """Return the fraction of pages that sequences hold, from 0 to 1."""
        return 1 - self.num_available / self.num_pages

    def allocate(self, evict: bool = True) -> int | None:
        """Allocate a page with one reference: a free one, else the least recently used evictable
        one, if it may be evicted. Return None if there is none.
        """
        if self.free:
            page = self.free.pop()
        elif self.evictable and evict:
            page, _ = self.evictable.popitem(last=False)
            del self.page_by_hash[self.hash_by_page.pop(page)]
        else:
            return None
        self.ref_counts[page] = 1
        return page

    def retain(self, pages: Iterable[int]) -> None:
        """Add one reference to each page."""
        for page in pages:
            self.ref_counts[page] += 1
            self.evictable.pop(page, None)

    def release(self, pages: Sequence[int]) -> None:
        """Drop one reference to each page of a sequence. Its last pages become evictable first: a
        block can only be matched after all blocks before it.
        """
        for page in reversed(pages):
            self.ref_counts[page] -= 1
            if self.ref_counts[page]:
                continue
            del self.ref_counts[page]
            if page in self.hash_by_page:
                self.evictable[page] = None
            else:
                self.free.append(page)

    def cache(self, page: int, block_hash: bytes) -> None:
        """Register a full page under its hash, unless another page is registered under it."""
        if block_hash not in self.page_by_hash and page not in self.hash_by_page:
            self.page_by_hash[block_hash] = page
            self.hash_by_page[page] = block_hash

    def match_prefix(self, block_hashes: Sequence[bytes]) -> list[int]:
        """Return the pages of the longest cached prefix. The caller retains them."""
        pages = []
        for block_hash in block_hashes:
            if block_hash not in self.page_by_hash:
                break
            pages.append(self.page_by_hash[block_hash])
        return pages
