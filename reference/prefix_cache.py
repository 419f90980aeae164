"""Reuse of what was computed for the beginning of an earlier prompt.

A prompt is read in blocks of `BLOCK` tokens from its first one on, whatever is cached: a row of a
matrix product may differ in its last bits with the number of rows beside it, so equal blocks must
be computed as equal blocks. Only whole blocks are kept. A block holds its keys and values and its
rows of the model's last layer, so that the log-probabilities of a prompt that was found here are
the ones that were not.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reference.request import Request

BLOCK = 32


@dataclass(frozen=True)
class Block:
    """BLOCK tokens, read: keys and values of every layer, and the rows that the output head
    reads.
    """

    keys: Float[np.ndarray, "L T K H"]
    values: Float[np.ndarray, "L T K H"]
    rows: Float[np.ndarray, "T D"]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes + self.rows.nbytes


def root_hash(principal: str, prompt_cache_key: str | None) -> bytes:
    """Where the prefixes of one principal under one `prompt_cache_key` begin. No other can reach
    them.

    Meaning:   requests share prefixes if they agree in principal and key; null is a key of its own.
    Boundary:  principals never share, for the time an answer takes would tell what others asked.
    Off value: there is none: reuse changes nothing in an answer but `cached_tokens`.
    """
    return hashlib.sha256(repr((principal, prompt_cache_key)).encode()).digest()


def block_hashes(request: Request) -> list[bytes]:
    """The name of each whole block of a prompt: it tells the block's tokens, what its images show,
    and all that comes before them.
    """
    name = root_hash(request.principal, request.params.prompt_cache_key)
    names = []
    for first in range(0, len(request.prompt) - BLOCK + 1, BLOCK):
        block = np.asarray(request.prompt[first : first + BLOCK], dtype=np.int64)
        images = (placed.image.digest for placed in request.images_within(first, first + BLOCK))
        name = hashlib.sha256(b"".join((name, block.tobytes(), *images))).digest()
        names.append(name)
    return names


class PrefixCache:
    """Blocks by name. The least recently used ones go when there are more than `capacity` bytes of
    them.
    """

    def __init__(self, capacity: int = 256 * 2**20) -> None:
        self.capacity = capacity
        self.size = 0
        self.blocks: OrderedDict[bytes, Block] = OrderedDict()

    def longest(self, names: Sequence[bytes]) -> list[Block]:
        """The blocks of the longest prefix that is here."""
        found = []
        for name in names:
            if name not in self.blocks:
                break
            self.blocks.move_to_end(name)
            found.append(self.blocks[name])
        return found

    def store(self, name: bytes, block: Block) -> None:
        """Keep a block, making room for it if need be."""
        if name not in self.blocks:
            self.blocks[name] = block
            self.size += block.nbytes
        while self.size > self.capacity:
            _, oldest = self.blocks.popitem(last=False)
            self.size -= oldest.nbytes
