"""The events of an engine as an asynchronous stream."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from api.engine import Engine
from reference.request import Event, Request, RequestFinished

Observe = Callable[[int, Event], None]

HEALTH_CHECK_TIMEOUT = 2.0  # seconds without an event, after which the engine's health is checked
BURST = 16  # events after which other tasks get a turn


class EngineDown(Exception):
    """The engine stopped before a request was finished."""


class DeadlineExceeded(Exception):
    """A request was not finished in time."""


class Stream:
    """The events of requests submitted together, as (index of the request, event).

    Use it as `async with Stream(engine, requests) as events`: leaving the block aborts every
    unfinished request. Raises EngineDown if the engine dies. observe: called with every event.
    deadline: of `time.monotonic`, after which DeadlineExceeded is raised.
    """

    def __init__(
        self,
        engine: Engine,
        requests: Sequence[Request],
        observe: Observe = lambda i, event: None,
        deadline: float = math.inf,
    ) -> None:
        self._deadline = deadline
        self._engine, self._observe = engine, observe
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._request_ids: dict[int, int] = {}  # of unfinished requests, by index
        self._burst = 0  # events since other tasks had a turn

    async def __aenter__(self) -> Self:
        try:
            for i, request in enumerate(self._requests):
                self._request_ids[i] = self._engine.submit(request, partial(self._on_event, i))
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, Event]:
        if not self._request_ids:
            raise StopAsyncIteration
        self._burst = (self._burst + 1) % BURST
        if self._burst == 0:
            await asyncio.sleep(0)  # a queue with events does not suspend
        i, event = await self._next()
        self._observe(i, event)
        if isinstance(event, RequestFinished):
            del self._request_ids[i]
        return i, event

    async def _next(self) -> tuple[int, Event]:
        """Wait for an event. Raise EngineDown if none comes and the engine is unhealthy, and
        DeadlineExceeded.
        """
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, HEALTH_CHECK_TIMEOUT)):
                    return await self._events.get()
            if not self._engine.stats().healthy:
                raise EngineDown

    def _on_event(self, i: int, event: Event) -> None:
        """Queue an event. Called on the engine's thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped
            self._loop.call_soon_threadsafe(self._events.put_nowait, (i, event))

    def abort(self, i: int, choice: int) -> None:
        """Stop one choice of request `i`."""
        if i in self._request_ids:
            self._engine.abort(self._request_ids[i], choice)

    def close(self) -> None:
        """Abort every unfinished request."""
        for request_id in self._request_ids.values():
            self._engine.abort(request_id)
        self._request_ids.clear()
