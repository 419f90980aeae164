"""Random choices that know what they cost."""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Chance:
    """A seeded source of choices. `bits` is −log2 of the probability of everything it has chosen.

    The sum over a document is its information content under the generator, exactly if no other
    choices write the same text, else an upper bound.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.bits = 0.0

    def pick(self, items: Sequence[T]) -> T:
        """One item, all alike."""
        self.bits += math.log2(len(items))
        return items[self._random.randrange(len(items))]

    def several(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different items, in a random order."""
        self.bits += sum(math.log2(len(items) - i) for i in range(count))
        return self._random.sample(items, count)

    def number(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return self.pick(range(low, high + 1))

    def happens(self, probability: float) -> bool:
        """True with this probability."""
        result = self._random.random() < probability
        self.bits -= math.log2(probability if result else 1 - probability)
        return result
