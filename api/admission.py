"""Admission: how many sequences of a model may be in flight, in total and for each principal."""

import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from api.errors import rate_limited, too_many_sequences

SHARE = 4
WINDOW = 30.0  # seconds in which finished sequences are counted
MAX_RETRY_AFTER = 60  # seconds


class Admission:
    """The sequences (prompts × `n`) that are in flight. A request counts until its response has
    been sent.

    fair: whether a principal's second request, and each one after it, must leave room for others:
    at least 1/SHARE of the sequences that the principal then has. So a single principal can fill
    4/5 of the limit, and two can fill 4/9 each. Source: Choudhury & Hahne 1998, "Dynamic queue
    length thresholds for shared-memory packet switches".
    """

    def __init__(self, limit: int, *, fair: bool) -> None:
        self.limit, self.fair = limit, fair
        self.in_flight = 0
        self._by_principal: Counter[str] = Counter()
        self._finished: deque[tuple[float, int]] = deque()  # (time, sequences)

    @contextmanager
    def admit(self, principal: str, prompts: int, n: int) -> Iterator[None]:
        """Count the sequences of a request as in flight while the block runs.

        Raises ApiError 400 if the request alone has more than the limit, and 429 if there would be
        more in flight, or more than the share of the principal.
        """
        sequences = prompts * n
        if sequences > self.limit:
            raise too_many_sequences(prompts, n, self.limit)
        excess = self._excess(principal, sequences)
        if excess > 0:
            raise rate_limited(self.retry_after(excess))
        self._count(principal, sequences)
        try:
            yield
            self._finished.append((time.monotonic(), sequences))
        finally:
            self._count(principal, -sequences)
            self._forget()

    def _excess(self, principal: str, sequences: int) -> float:
        """Return how many sequences must finish before a request can be admitted; 0 if none."""
        room = self.limit - self.in_flight
        excess = float(sequences - room)
        own = self._by_principal[principal]
        if self.fair and own:
            # One that finishes lowers `own` by one and adds one to the room.
            excess = max(excess, (own + sequences - SHARE * (room - sequences)) / (SHARE + 1))
        return max(0.0, excess)

    def _forget(self) -> None:
        """Drop the requests that finished before the window."""
        start = time.monotonic() - WINDOW
        while self._finished and self._finished[0][0] < start:
            self._finished.popleft()

    def _count(self, principal: str, sequences: int) -> None:
        self.in_flight += sequences
        self._by_principal[principal] += sequences
        if not self._by_principal[principal]:
            del self._by_principal[principal]

    def retry_after(self, excess: float) -> int:
        """Return the seconds until so many sequences will have finished, at the recent rate."""
        self._forget()
        if not self._finished:
            return 1
        elapsed = time.monotonic() - self._finished[0][0]
        finished = sum(sequences for _, sequences in self._finished)
        return min(MAX_RETRY_AFTER, max(1, math.ceil(excess * elapsed / finished)))
