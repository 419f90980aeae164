"""Page sharing: the pages of a prompt for its sequences, and those of generated tokens for later
prompts. Plain Python.
"""

from typing import NamedTuple

from jax_backend.prefix_cache import block_hashes
from jax_backend.serving.scheduling.page_pool import PagePool
from jax_backend.serving.scheduling.plan import Prefill, Sequence


class ForkedPages(NamedTuple):
    """The pages of a sequence, up to the one that it writes to first, and the page copies that they
    need, as (source, target). took_over: whether it has the partly filled page of the prefill.
    """

    pages: list[int]
    copies: list[tuple[int, int]]
    took_over: bool


def fork_pages(
    pool: PagePool, prefill: Prefill, page_size: int, must_fit: bool
) -> ForkedPages | None:
    """Return the pages of the next sequence of a complete prefill: the full pages are shared.
    Return None if there is no page for it.

    The last sequence takes over the partly filled page. The others need a page each: a copy of it
    or, if prefill ends at a page boundary, an empty one. must_fit: no page will be released, so a
    sequence takes over the partly filled page, too, if there is no other.
    """
    num_full, remainder = divmod(prefill.end, page_size)
    is_last = len(prefill.sequences) == 1
    page = None if is_last and remainder else pool.allocate()
    if page is None and not (remainder and (is_last or must_fit)):
        return None
    pages = list(prefill.pages)
    pool.retain(pages)
    if page is None:
        return ForkedPages(pages, [], took_over=True)
    pool.release(pages[num_full:])
    pages[num_full:] = [page]
    copies = [(prefill.pages[num_full], page)] if remainder else []
    return ForkedPages(pages, copies, took_over=False)


def cache_output(pool: PagePool, sequence: Sequence, page_size: int) -> None:
    """Register the pages that a sequence has filled by decoding."""
    state = sequence.state
    output = sequence.tokens[: max(0, sequence.position - len(state.prompt))]
    hashes = block_hashes(state.request, page_size, output, state.block_hashes)
    for page, block_hash in zip(sequence.pages, hashes, strict=False):
        pool.cache(page, block_hash)
