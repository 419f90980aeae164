"""The events of an engine as an asynchronous stream."""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary, ref

from api.engine import Engine
from reference.request import Event, Request, RequestFinished

Observe = Callable[[int, Event], None]
Item = tuple[int, Event]
Receive = Callable[[Item], None]

HEALTH_CHECK_TIMEOUT = 2.0  # seconds without an event, after which the engine's health is checked
BURST = 16  # events after which other tasks get a turn


class EngineDown(Exception):
    """The engine stopped before a request was finished."""


class DeadlineExceeded(Exception):
    """A request was not finished in time."""


class Mailbox:
    """Events on their way from the threads of engines to an event loop.

    The loop is woken once for all events that arrive until it runs: an engine emits one for each
    sequence of a batch, and waking the loop takes longer than delivering an event.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # weak: the mailbox is the value of a dictionary by loop
        self._items: deque[tuple[Receive, Item]] = deque()
        self._is_scheduled = False

    def put(self, receive: Receive, item: Item) -> None:
        """Deliver an item: call `receive` on the thread of the loop. May be called on any thread.
        After the loop was closed, because the server has stopped, the item is dropped.
        """
        self._items.append((receive, item))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop = self._loop()
            with contextlib.suppress(RuntimeError):
                if loop is not None:
                    loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_scheduled = False  # before the items: one that arrives now may be too late
        while self._items:
            receive, item = self._items.popleft()
            receive(item)


MAILBOXES: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def mailbox_of(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """Return the mailbox of a loop. Must be called on its thread."""
    if loop not in MAILBOXES:
        MAILBOXES[loop] = Mailbox(loop)
    return MAILBOXES[loop]


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
        self._mailbox = mailbox_of(self._loop)
        self._items: deque[Item] = deque()
        self._arrival = self._loop.create_future()  # done: there may be an item
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
            if self._items:
                return self._items.popleft()
            self._arrival = self._loop.create_future()
            # `asyncio.timeout` would take longer than the event.
            timer = self._loop.call_later(min(left, HEALTH_CHECK_TIMEOUT), self._wake)
            try:
                await self._arrival
            finally:
                timer.cancel()
            if not self._items and not self._engine.stats().healthy:
                raise EngineDown

    def _wake(self) -> None:
        if not self._arrival.done():
            self._arrival.set_result(None)

    def _receive(self, item: Item) -> None:
        self._items.append(item)
        self._wake()

    def _on_event(self, i: int, event: Event) -> None:
        """Queue an event. Called on the engine's thread."""
        self._mailbox.put(self._receive, (i, event))

    def abort(self, i: int, choice: int) -> None:
        """Stop one choice of request `i`."""
        if i in self._request_ids:
            self._engine.abort(self._request_ids[i], choice)

    def close(self) -> None:
        """Abort every unfinished request."""
        for request_id in self._request_ids.values():
            self._engine.abort(request_id)
        self._request_ids.clear()
