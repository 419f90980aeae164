"""Random choices that count their information content."""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class RandomSource:
    """A seeded source of choices. `bits` is −log2 of the probability of all choices so far.

    For a document this is its information content under the generator if no other choices produce
    the same text, else an upper bound.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.bits = 0.0

    def pick(self, items: Sequence[T]) -> T:
        """Choose an item uniformly."""
        self.bits += math.log2(len(items))
        return items[self._random.randrange(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Choose `count` different items in a random order."""
        self.bits += sum(math.log2(len(items) - i) for i in range(count))
        return self._random.sample(items, count)

    def number(self, low: int, high: int) -> int:
        """Choose an integer from low to high, both included."""
        return self.pick(range(low, high + 1))

    def happens(self, probability: float) -> bool:
        """Return True with this probability."""
        result = self._random.random() < probability
        self.bits -= math.log2(probability if result else 1 - probability)
        return result
