"""What the endpoint asks of a backend, and a backend's events as an asynchronous stream."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from reference.images.placement import ImageProcessor
from reference.request import EngineStats, Event, Request, RequestFinished
from reference.tokenizer.protocol import Tokenizer

PATIENCE = 2.0  # seconds of silence after which the engine is asked whether it is alive


class EngineDown(Exception):
    """The engine stopped without finishing a request."""


class Engine(Protocol):
    """Three verbs and a stream of events (`reference.request`) for each request."""

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        """Queue a request; its events go to `on_event`, on any thread. Returns its request_id."""

    def abort(self, request_id: int, choice: int | None = None) -> None:
        """Stop one choice, or all, within one decoding step. Ignores finished requests."""

    def stats(self) -> EngineStats: ...

    def close(self) -> None:
        """Stop within one decoding step: not healthy any more, it ends every request with an error,
        also one that is submitted later. Closing it again does nothing.
        """


@dataclass(frozen=True, kw_only=True)
class Served:
    """A model under the name that requests call it by.

    vocab_size: ids 0 ≤ id < vocab_size may stand in a prompt. context: the most tokens that prompt
    and output have together. sight: how the model takes pictures in, None if it reads text only.
    build: what tells this backend and these weights from others.
    """

    name: str
    engine: Engine
    tokenizer: Tokenizer
    vocab_size: int
    context: int
    sight: ImageProcessor | None = None
    build: str = ""
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def fingerprint(self) -> str:
        """`system_fingerprint`: the same as long as the same thing answers."""
        facts = repr((self.name, self.build, self.vocab_size, self.context))
        return "fp_" + hashlib.sha256(facts.encode()).hexdigest()[:12]


class Stream:
    """The events of requests that are submitted together, as (number of the request, event).

    Use it as `async with Stream(engine, requests) as events`: whatever has not ended when the block
    is left, for whichever reason, is aborted. Raises EngineDown if the engine dies.
    """

    def __init__(self, engine: Engine, requests: Sequence[Request]) -> None:
        self._engine = engine
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._request_ids: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        try:
            for i, request in enumerate(self._requests):
                self._request_ids[i] = self._engine.submit(request, partial(self._deliver, i))
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
        i, event = await self._next()
        if isinstance(event, RequestFinished):
            del self._request_ids[i]
        return i, event

    async def _next(self) -> tuple[int, Event]:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    return await self._arrived.get()
            if not self._engine.stats().healthy:
                raise EngineDown

    def _deliver(self, i: int, event: Event) -> None:
        """Called on the engine's thread. A loop that is closed has nobody left who listens."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, (i, event))

    def abort(self, i: int, choice: int) -> None:
        """Tell the engine that nobody wants the rest of a choice."""
        if i in self._request_ids:
            self._engine.abort(self._request_ids[i], choice)

    def close(self) -> None:
        """Abort what has not ended."""
        for request_id in self._request_ids.values():
            self._engine.abort(request_id)
        self._request_ids.clear()
