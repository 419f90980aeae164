"""Block hashes of the prefix cache: the prefixes that requests share."""

from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.property import Coverage, Property
from jax_backend import prefix_cache
from reference import prefix_cache as spec
from reference.params import CompletionParams
from reference.request import Image, ImageSpan, Request

BLOCK = spec.BLOCK_SIZE
IMAGE_TOKENS = 5


def block_hashes(example: list[dict[str, Any]], coverage: Coverage) -> None:
    """Requests share exactly the blocks that they share in the reference."""
    requests = [request(**fields) for fields in example]
    actual = [prefix_cache.block_hashes(r, BLOCK) for r in requests]
    expected = [spec.block_hashes(r) for r in requests]
    assert list(map(len, actual)) == list(map(len, expected))
    hashes = sum(actual, [])
    assert groups(hashes) == groups(sum(expected, []))
    coverage.counts["shared blocks"] += len(hashes) - len(set(hashes))


def root_hash(example: list[tuple[str, str | None]], coverage: Coverage) -> None:
    """Prefixes are shared under the same principal and the same key only, as in the reference."""
    actual = [prefix_cache.root_hash(*pair) for pair in example]
    assert groups(actual) == groups([spec.root_hash(*pair) for pair in example])


def groups(hashes: list[bytes]) -> list[int]:
    """Return the index of the first equal hash, for each hash."""
    return [hashes.index(digest) for digest in hashes]


def request(
    blocks: list[int],
    remainder: int,
    principal: str,
    prompt_cache_key: str | None,
    images: list[tuple[int, int]],
) -> Request:
    """Return a request whose prompt is a run of equal tokens for each of `blocks`, and a remainder.
    images: (offset, number) of each; they may overlap a block boundary, as images do.
    """
    prompt = [token for token in blocks for _ in range(BLOCK)] + [0] * remainder
    spans = [ImageSpan(image(n), at, at + IMAGE_TOKENS) for at, n in sorted(images)]
    return Request.of(
        prompt or [0],
        CompletionParams(prompt_cache_key=prompt_cache_key),
        principal,
        images=tuple(span for span in spans if span.stop <= len(prompt)),
    )


@cache
def image(number: int) -> Image:
    return Image.of(np.full((3, 2, 2), number, np.float32))


PRINCIPALS = st.sampled_from(["me", "you", "me'", ""])
KEYS = st.sampled_from([None, "None", "a", "me", ""])
REQUESTS = st.fixed_dictionaries(
    {
        "blocks": st.lists(st.integers(0, 1), max_size=3),
        "remainder": st.integers(0, BLOCK - 1),
        "principal": st.sampled_from(["me", "you"]),
        "prompt_cache_key": st.sampled_from([None, "a"]),
        "images": st.lists(
            st.tuples(st.integers(0, 3 * BLOCK), st.integers(0, 1)),
            max_size=2,
            unique_by=lambda pair: pair[0] // IMAGE_TOKENS,
        ),
    }
)
PROPERTIES = (
    Property(
        "prefix_cache/root_hash", st.lists(st.tuples(PRINCIPALS, KEYS), max_size=6), root_hash
    ),
    Property("prefix_cache/block_hashes", st.lists(REQUESTS, max_size=5), block_hashes),
)
