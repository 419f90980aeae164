"""The page table under every order of events, beside a model of what each page is."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
)

from jax_backend.serving.page_pool import PagePool, page_names


class Pages(RuleBasedStateMachine):
    """Sequences take, share, name and release pages of a small pool."""

    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.pool = PagePool(5)
        self.held: list[list[int]] = []
        self.texts: dict[bytes, int] = {}

    @rule(target=sequences)
    def begin(self) -> list[int]:
        self.held.append([])
        return self.held[-1]

    @rule(pages=sequences)
    def take(self, pages: list[int]) -> None:
        could = self.pool.available
        page = self.pool.take()
        assert (page is not None) == (could > 0)
        if page is not None:
            assert 1 <= page <= 5 and not any(page in held for held in self.held)
            pages.append(page)

    @rule(pages=sequences, name=st.binary(max_size=1))
    def keep(self, pages: list[int], name: bytes) -> None:
        if pages:
            self.pool.keep(pages[-1], name)

    @rule(target=sequences, name=st.binary(max_size=1))
    def find(self, name: bytes) -> list[int]:
        found = self.pool.longest([name])
        self.pool.share(found)
        self.held.append(found)
        return found

    @rule(pages=consumes(sequences))
    def release(self, pages: list[int]) -> None:
        self.pool.release(pages)
        self.held = [held for held in self.held if held is not pages]

    @invariant()
    def every_page_is_free_or_idle_or_held_as_often_as_it_is_shared(self) -> None:
        pool, held = self.pool, [page for pages in self.held for page in pages]
        assert {p: held.count(p) for p in held} == dict(pool.holders)
        assert sorted([*pool.free, *pool.idle, *pool.holders]) == [1, 2, 3, 4, 5]

    @invariant()
    def names_and_pages_are_one_to_one_and_no_free_page_has_one(self) -> None:
        pool = self.pool
        assert {page: name for name, page in pool.named.items()} == pool.name_of
        assert set(pool.idle) <= set(pool.name_of) and not set(pool.free) & set(pool.name_of)


TestPages = Pages.TestCase
TestPages.settings = settings(max_examples=60, stateful_step_count=40)


def test_what_was_idle_longest_goes_first_and_the_end_of_a_text_before_its_beginning() -> None:
    pool = PagePool(3)
    first, second, other = (pool.take() for _ in range(3))
    for page, name in ((first, b"1"), (second, b"12"), (other, b"3")):
        pool.keep(page, name)
    pool.release([first, second])
    pool.release([other])
    assert [pool.take() for _ in range(4)] == [second, first, other, None]
    assert pool.longest([b"1"]) == []


def test_a_name_tells_the_principal_the_key_and_all_tokens_so_far() -> None:
    names = page_names("me", None, [1, 2, 3, 4, 5], 2)
    assert len(names) == 2
    assert page_names("me", None, [1, 2, 3, 4], 2) == names
    assert page_names("me", None, [1, 2, 3, 9], 2)[0] == names[0]
    assert page_names("me", None, [9, 2, 3, 4], 2)[1] != names[1]
    assert page_names("me", None, [12, 3], 2) != page_names("me", None, [1, 23], 2)
    others = page_names("you", None, [1, 2], 2), page_names("me", "key", [1, 2], 2)
    assert len({names[0], *(n for other in others for n in other)}) == 3
