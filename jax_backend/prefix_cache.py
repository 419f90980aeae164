"""Block hashes of the prefix cache: the twin of `reference.prefix_cache`, one block per page.

Each hash covers the one before it and the content of its block, so the hashes are the nodes of a
prefix tree. `jax_backend.serving.scheduling.page_pool` finds pages by them.
"""

import hashlib
from collections.abc import Sequence

from reference.request import Request


def root_hash(principal: str, prompt_cache_key: str | None) -> bytes:
    """Return the root of the hash chains of one principal and one `prompt_cache_key`."""
    return hashlib.sha256(repr((principal, prompt_cache_key)).encode()).digest()


def block_hashes(
    request: Request,
    page_size: int,
    output: Sequence[int] = (),
    known: Sequence[bytes] = (),
) -> list[bytes]:
    """Return the hash of each full block of a prompt and output tokens after it: it covers the
    block's tokens and images, and everything before them. known: the first hashes.
    """
    tokens = (*request.prompt, *output)
    digest = known[-1] if known else root_hash(request.principal, request.params.prompt_cache_key)
    hashes = list(known)
    for start in range(len(known) * page_size, len(tokens) - page_size + 1, page_size):
        block = list(tokens[start : start + page_size])
        spans = request.images_within(start, start + page_size)
        images = [span.image.digest for span in spans]
        digest = hashlib.sha256(digest + repr((block, images)).encode()).digest()
        hashes.append(digest)
    return hashes
