"""Which page of the cache belongs to whom. Plain Python: the pages themselves are on the device.

A page has `size` positions. It is free, or held by a number of sequences, or idle: nobody holds it,
but it is kept under the name of the text that it is the end of, until its place is needed. Names
are a chain of hashes, each over the one before it and the tokens of the page, which makes them the
nodes of a prefix tree. Page 0 is nobody's (`jax_backend.model.attention.cpu`).
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from reference.request import ImageSpan


def page_names(
    principal: str,
    prompt_cache_key: str | None,
    tokens: Sequence[int],
    size: int,
    images: Sequence[ImageSpan] = (),
) -> list[bytes]:
    """The name of each page that `tokens` fill, and the `images` that stand in their places.
    Principals and keys have trees of their own.
    """
    name = hashlib.sha256(repr((principal, prompt_cache_key)).encode()).digest()
    names = []
    for start in range(0, len(tokens) - size + 1, size):
        page = list(tokens[start : start + size])
        shown = [p.image.digest for p in images if p.start < start + size and start < p.stop]
        name = hashlib.sha256(name + repr((page, shown)).encode()).digest()
        names.append(name)
    return names


class PagePool:
    """`count` pages, numbered from 1."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = list(range(count, 0, -1))
        self.holders: Counter[int] = Counter()
        self.named: dict[bytes, int] = {}
        self.name_of: dict[int, bytes] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()  # the next to be taken first

    @property
    def available(self) -> int:
        """How many pages can be taken."""
        return len(self.free) + len(self.idle)

    def take(self) -> int | None:
        """A page for one holder: a free one, or else the one that was idle longest. None: all are
        held.
        """
        if self.free:
            page = self.free.pop()
        elif self.idle:
            page, _ = self.idle.popitem(last=False)
            del self.named[self.name_of.pop(page)]
        else:
            return None
        self.holders[page] = 1
        return page

    def share(self, pages: Iterable[int]) -> None:
        """One more holder for each page."""
        for page in pages:
            self.holders[page] += 1
            self.idle.pop(page, None)

    def release(self, pages: Sequence[int]) -> None:
        """One holder less for each page of a sequence. Its end goes idle first, for it is of use
        only after its beginning.
        """
        for page in reversed(pages):
            self.holders[page] -= 1
            if self.holders[page]:
                continue
            del self.holders[page]
            if page in self.name_of:
                self.idle[page] = None
            else:
                self.free.append(page)

    def keep(self, page: int, name: bytes) -> None:
        """Name a full page, so that later prompts find it, unless another page has that name."""
        if name not in self.named and page not in self.name_of:
            self.named[name] = page
            self.name_of[page] = name

    def longest(self, names: Sequence[bytes]) -> list[int]:
        """The pages of the longest prefix that is here. The caller shares them."""
        found = []
        for name in names:
            if name not in self.named:
                break
            found.append(self.named[name])
        return found
