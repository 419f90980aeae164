"""Prefix cache: reuse of the keys and values of earlier prompts.

The prefill runs in blocks of `BLOCK_SIZE` tokens that start at multiples of it, whether cached or
not: a row of a matrix product may differ in its last bits with the number of rows, so a cached
block is bitwise identical only to the same block computed as a block. Only full blocks are cached.
A block holds its keys and values, and its last hidden states, from which the log-probabilities of
an echoed prompt are computed.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from reference.request import Request

BLOCK_SIZE = 32


@dataclass(frozen=True)
class Block:
    """BLOCK_SIZE processed tokens: keys and values of every layer, and the last hidden states."""

    keys: Float[np.ndarray, "L T K H"]
    values: Float[np.ndarray, "L T K H"]
    hidden_states: Float[np.ndarray, "T D"]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes + self.hidden_states.nbytes


def root_hash(principal: str, prompt_cache_key: str | None) -> bytes:
    """Return the root of the hash chain of one principal's prompts under one `prompt_cache_key`.

    Meaning:   requests share prefixes if they agree in principal and key; null is a separate key.
    Boundary:  principals never share: the response time would reveal the prompts of others.
    Off value: none: a hit changes only `cached_tokens` in a response.
    Example:   the same key under two principals gives two roots.
               >>> root_hash("alice", "k") == root_hash("alice", "k")
               True
               >>> root_hash("alice", "k") == root_hash("bob", "k")
               False
               >>> root_hash("alice", None) == root_hash("alice", "None")
               False
    """
    return hashlib.sha256(repr((principal, prompt_cache_key)).encode()).digest()


def block_hashes(request: Request) -> list[bytes]:
    """Return the hash of each full block: of its tokens, its images, and the block before it."""
    block_hash = root_hash(request.principal, request.params.prompt_cache_key)
    hashes = []
    for start in range(0, len(request.prompt) - BLOCK_SIZE + 1, BLOCK_SIZE):
        stop = start + BLOCK_SIZE
        tokens = np.asarray(request.prompt[start:stop], dtype=np.int64)
        digests = (span.image.digest for span in request.images_within(start, stop))
        block_hash = hashlib.sha256(b"".join((block_hash, tokens.tobytes(), *digests))).digest()
        hashes.append(block_hash)
    return hashes


class PrefixCache:
    """Blocks by hash. Above `capacity` bytes, the least recently used ones are evicted."""

    def __init__(self, capacity: int = 256 * 2**20) -> None:
        self.capacity = capacity
        self.size = 0
        self.blocks: OrderedDict[bytes, Block] = OrderedDict()

    def match_prefix(self, hashes: Sequence[bytes]) -> list[Block]:
        """Return the blocks of the longest cached prefix."""
        blocks = []
        for block_hash in hashes:
            if block_hash not in self.blocks:
                break
            self.blocks.move_to_end(block_hash)
            blocks.append(self.blocks[block_hash])
        return blocks

    def store(self, block_hash: bytes, block: Block) -> None:
        """Cache a block, and evict others if needed."""
        if block_hash not in self.blocks:
            self.blocks[block_hash] = block
            self.size += block.nbytes
        while self.size > self.capacity:
            _, oldest = self.blocks.popitem(last=False)
            self.size -= oldest.nbytes
