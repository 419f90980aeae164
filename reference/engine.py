"""The reference as an engine: requests wait in a queue and are answered one after another, on a
thread of their own.
"""

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from reference import sampler
from reference.bundle import Bundle
from reference.generate import Sampler, generate
from reference.prefix_cache import PrefixCache
from reference.request import EngineStats, Event, Request, RequestFinished

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """A request on its way, and which of its choices nobody wants any more (None: all)."""

    request_id: int
    request: Request
    on_event: Callable[[Event], None]
    unwanted: set[int | None] = field(default_factory=set)

    def aborted(self, choice: int | None) -> bool:
        return None in self.unwanted or choice in self.unwanted


class ReferenceEngine:
    """submit, abort, stats: the three verbs of an engine, and a stream of events for each
    request.
    """

    def __init__(self, model: Bundle, sample: Sampler = sampler.sample) -> None:
        """sample: how a token is drawn; a wrong one shows whether anybody notices."""
        self.model, self._sample = model, sample
        self.prefixes = PrefixCache()
        self._request_ids = itertools.count()
        self._jobs: dict[int, Job] = {}
        self._closing = False
        self._lock = threading.Lock()  # nothing is queued behind the None that ends the thread
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="reference-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request; its events go to `on_event`, called on the engine's thread. Returns its
        request_id. After `close` it ends with an error at once.
        """
        job = Job(next(self._request_ids), request, on_event)
        with self._lock:
            if not self._closing:
                self._jobs[job.request_id] = job
                self._queue.put(job)
                return job.request_id
        on_event(closed())
        return job.request_id

    def abort(self, request_id: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decoding step. Ignores finished requests."""
        if job := self._jobs.get(request_id):
            job.unwanted.add(choice)

    def stats(self) -> EngineStats:
        waiting = self._queue.qsize()
        healthy = self._thread.is_alive() and not self._closing
        return EngineStats(healthy, len(self._jobs) - waiting, waiting)

    def close(self) -> None:
        """Stop within one decoding step; requests that have not ended end with an error."""
        with self._lock:
            self._closing = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                self._run(job)
            except Exception:
                logger.exception("a client's stream could not be written to")
            finally:
                del self._jobs[job.request_id]

    def _run(self, job: Job) -> None:
        def aborted(choice: int | None) -> bool:
            return self._closing or job.aborted(choice)

        try:
            for event in generate(self.model, job.request, self.prefixes, aborted, self._sample):
                cut = self._closing and isinstance(event, RequestFinished)
                job.on_event(closed() if cut else event)
        except Exception as error:
            logger.exception("a request failed")
            job.on_event(RequestFinished(error=error))


def closed() -> RequestFinished:
    return RequestFinished(error=RuntimeError("the engine was closed"))
