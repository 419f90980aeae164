"""The number of requests that a run may send."""

import threading

from conformance.verdicts import Inconclusive


class Budget:
    """A thread-safe request counter.

    limit: the maximum number of requests; None for no limit. closed: why no more requests may be
    sent, None while they may.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self.spent = limit, 0
        self.closed: str | None = None
        self._lock = threading.Lock()

    def spend(self) -> None:
        """Count one request. Raises Inconclusive if none is left."""
        if self.closed is not None:
            raise Inconclusive(self.closed)
        with self._lock:
            if self.limit is not None and self.spent >= self.limit:
                raise Inconclusive(f"the limit of {self.limit} requests is reached")
            self.spent += 1
