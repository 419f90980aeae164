"""Choose how many draft tokens a step verifies, by expected tokens per second.

The time of a decode launch of B rows is modeled as B + `launch` rows: reading the weights takes as
long as the products of `launch` rows. A step that waits for the tokens before it costs `wait` rows
more, in which the device is idle. A draft token is expected to be accepted with the probability
`accuracy`, if all before it are.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

MIN_SPEEDUP = 1.05  # expected, for drafts to be used


@dataclass(frozen=True)
class LaunchCosts:
    """Costs of a decode launch that do not depend on its rows, in rows.

    launch: measured on a CPU, 134M shape: batches of 8, 16 and 32 take 1.25, 1.5 and 2.1 times as
    long as a batch of 2. wait: from the end of one step to the begin of the next.
    """

    launch: float
    wait: float


CPU_COSTS = LaunchCosts(launch=26, wait=2)
ACCELERATOR_COSTS = LaunchCosts(launch=256, wait=32)


@dataclass(frozen=True)
class Guess:
    """The draft that a sequence could have. length: in tokens. unread: tokens in flight, which come
    before the draft.
    """

    accuracy: float
    length: int
    unread: int = 0

    def acceptance(self, i: int) -> float:
        """Return the probability that token i of the draft is accepted."""
        return self.accuracy ** (i + 1 + self.unread)


def draft_lengths(
    guesses: Sequence[Guess], rows: int, batch_sizes: Sequence[int], costs: LaunchCosts
) -> list[int]:
    """Return how many tokens of each guess to verify.

    rows: of the step without drafts. batch_sizes: compiled ones, ascending. Rows are given to the
    tokens that are most likely to be accepted, as many as maximize the expected tokens per time;
    none if the step is not expected to be faster by `MIN_SPEEDUP`.
    """
    order = _most_likely(guesses, batch_sizes[-1] - rows)
    best_rate, best_count = 0.0, 0
    tokens, count = float(rows), 0
    for size in batch_sizes:
        if size < rows:
            continue
        if not best_rate:  # the smallest size that holds the rows
            best_rate = MIN_SPEEDUP * rows / (size + costs.launch)
        while count < min(size - rows, len(order)):
            tokens += order[count][1]
            count += 1
        rate = tokens / (size + costs.launch + costs.wait)
        if rate > best_rate:
            best_rate, best_count = rate, count
    lengths = [0] * len(guesses)
    for index, _ in order[:best_count]:
        lengths[index] += 1
    return lengths


def _most_likely(guesses: Sequence[Guess], count: int) -> list[tuple[int, float]]:
    """Return up to `count` draft tokens, the most likely first: the index of the guess and the
    probability of acceptance. The tokens of one guess are in order.
    """
    heap = [(-guess.acceptance(0), 0, i) for i, guess in enumerate(guesses) if guess.length]
    heapq.heapify(heap)
    chosen: list[tuple[int, float]] = []
    while heap and len(chosen) < count:
        negative, token, i = heap[0]
        chosen.append((i, -negative))
        if token + 1 < guesses[i].length:
            following = (-guesses[i].acceptance(token + 1), token + 1, i)
            heapq.heapreplace(heap, following)
        else:
            heapq.heappop(heap)
    return chosen
