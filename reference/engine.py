"""The reference as an engine: a queue of requests, run one after another on a single thread."""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from reference import sampler
from reference.bundle import Bundle
from reference.generate import Sampler, generate
from reference.prefix_cache import PrefixCache
from reference.request import EngineStats, Event, PromptProcessed, Request, RequestFinished

logger = logging.getLogger(__name__)


@dataclass
class RequestState:
    """A request in the queue or in flight. aborted_choices: those to stop; None is all.
    arrival_time: when it was queued, in seconds of `time.monotonic`. sample: its sampler.
    """

    request_id: int
    request: Request
    on_event: Callable[[Event], None]
    sample: Sampler
    aborted_choices: set[int | None] = field(default_factory=set)
    arrival_time: float = field(default_factory=time.monotonic)

    def is_aborted(self, choice: int | None) -> bool:
        return None in self.aborted_choices or choice in self.aborted_choices


class ReferenceEngine:
    """The engine interface over `generate`: submit, abort, stats."""

    def __init__(self, model: Bundle, sample: Sampler = sampler.sample) -> None:
        """sample: the sampler; tests pass a wrong one and check that it is detected."""
        self.model, self._sample = model, sample
        self.prefix_cache = PrefixCache()
        self._request_ids = itertools.count()
        self._states: dict[int, RequestState] = {}
        self._closing = False
        self._step_started: float | None = None  # time.monotonic() of the step in progress
        self._queried_tokens = self._cached_tokens = 0  # of the prefix cache
        # Held while queueing, so that no request follows the None that ends the thread.
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[RequestState | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._run_thread, name="reference-engine", daemon=True
        )
        self._thread.start()

    def submit(
        self,
        request: Request,
        on_event: Callable[[Event], None],
        sample: Sampler | None = None,
    ) -> int:
        """Queue a request, and return its request id.

        on_event is called with each event, on the engine's thread, before the next token is
        sampled. sample: the sampler of this request, if not the engine's. After `close`, the
        request fails at once.
        """
        state = RequestState(next(self._request_ids), request, on_event, sample or self._sample)
        with self._lock:
            if not self._closing:
                self._states[state.request_id] = state
                self._queue.put(state)
                return state.request_id
        on_event(engine_closed())
        return state.request_id

    def abort(self, request_id: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decode step. Ignores finished requests."""
        if state := self._states.get(request_id):
            state.aborted_choices.add(choice)

    def stats(self) -> EngineStats:
        waiting = self._queue.qsize()
        started = self._step_started
        return EngineStats(
            healthy=self._thread.is_alive() and not self._closing,
            running=len(self._states) - waiting,
            waiting=waiting,
            stalled_seconds=0.0 if started is None else time.monotonic() - started,
            prefix_cache_queries=self._queried_tokens,
            prefix_cache_hits=self._cached_tokens,
        )

    def close(self, timeout: float | None = None) -> None:
        """Stop within one decode step. Unfinished requests end with an error, after `timeout`
        seconds even if the step has not ended.
        """
        with self._lock:
            self._closing = True
            self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            for state in list(self._states.values()):
                state.on_event(engine_closed())

    def _run_thread(self) -> None:
        while (state := self._queue.get()) is not None:
            try:
                self._run(state)
            except Exception:
                logger.exception("an on_event callback failed")
            finally:
                del self._states[state.request_id]

    def _run(self, state: RequestState) -> None:
        def should_abort(choice: int | None) -> bool:
            return self._closing or state.is_aborted(choice)

        start_time = self._step_started = time.monotonic()
        try:
            for event in generate(
                self.model, state.request, self.prefix_cache, should_abort, state.sample
            ):
                self._step_started = time.monotonic()
                if isinstance(event, PromptProcessed):
                    event = self._count_prompt(state, event, start_time)
                interrupted = self._closing and isinstance(event, RequestFinished)
                state.on_event(engine_closed() if interrupted else event)
        except Exception as error:
            logger.exception("a request failed")
            state.on_event(RequestFinished(error=error))
        finally:
            self._step_started = None

    def _count_prompt(
        self, state: RequestState, event: PromptProcessed, start_time: float
    ) -> PromptProcessed:
        """Count the tokens of a prompt, and return its event with the times that it took."""
        self._queried_tokens += len(state.request.prompt)
        self._cached_tokens += event.cached_tokens
        return replace(
            event,
            queue_seconds=start_time - state.arrival_time,
            prefill_seconds=time.monotonic() - start_time,
        )


def engine_closed() -> RequestFinished:
    return RequestFinished(error=RuntimeError("the engine was closed"))
