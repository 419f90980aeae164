"""The page pool under every order of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from jax_backend.serving.scheduling.page_pool import PagePool


class Pages(RuleBasedStateMachine):
    """Sequences allocate, retain, cache and release pages of a small pool."""

    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.pool = PagePool(5)
        self.held: list[list[int]] = []

    @rule(target=sequences)
    def begin(self) -> list[int]:
        self.held.append([])
        return self.held[-1]

    @rule(pages=sequences)
    def allocate(self, pages: list[int]) -> None:
        num_available = self.pool.num_available
        page = self.pool.allocate()
        assert (page is not None) == (num_available > 0)
        if page is not None:
            assert 1 <= page <= 5 and not any(page in held for held in self.held)
            pages.append(page)

    @rule(pages=sequences, block_hash=st.binary(max_size=1))
    def cache(self, pages: list[int], block_hash: bytes) -> None:
        if pages:
            self.pool.cache(pages[-1], block_hash)

    @rule(target=sequences, block_hash=st.binary(max_size=1))
    def match(self, block_hash: bytes) -> list[int]:
        pages = self.pool.match_prefix([block_hash])
        self.pool.retain(pages)
        self.held.append(pages)
        return pages

    @rule(pages=consumes(sequences))
    def release(self, pages: list[int]) -> None:
        self.pool.release(pages)
        self.held = [held for held in self.held if held is not pages]

    @invariant()
    def ref_counts_match_the_holders(self) -> None:
        pool, held = self.pool, [page for pages in self.held for page in pages]
        assert {p: held.count(p) for p in held} == dict(pool.ref_counts)
        assert sorted([*pool.free, *pool.evictable, *pool.ref_counts]) == [1, 2, 3, 4, 5]

    @invariant()
    def hashes_and_pages_are_one_to_one(self) -> None:
        pool = self.pool
        assert {page: hash for hash, page in pool.page_by_hash.items()} == pool.hash_by_page
        assert set(pool.evictable) <= set(pool.hash_by_page)
        assert not set(pool.free) & set(pool.hash_by_page)


TestPages = Pages.TestCase
TestPages.settings = settings(max_examples=60, stateful_step_count=40)


def test_eviction_takes_least_recently_used_and_last_blocks_first() -> None:
    pool = PagePool(3)
    first, second, separate = (pool.allocate() for _ in range(3))
    for page, block_hash in ((first, b"1"), (second, b"12"), (separate, b"3")):
        pool.cache(page, block_hash)
    pool.release([first, second])
    pool.release([separate])
    assert [pool.allocate() for _ in range(4)] == [second, first, separate, None]
    assert pool.match_prefix([b"1"]) == []
