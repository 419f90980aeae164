"""Delivery of an engine's events to the event loop."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest

from api import stream as stream_module
from api.stream import BURST, DeadlineExceeded, Item, Mailbox, Stream, mailbox_of
from reference.params import CompletionParams
from reference.request import Event, Request, RequestFinished, TokenGenerated
from tests.api.toy import ToyEngine

REQUEST = Request.of([2], CompletionParams())


def token(i: int) -> TokenGenerated:
    return TokenGenerated(choice=0, token=i)


def count_wakeups(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    wakeups: list[Any] = []
    wake = loop.call_soon_threadsafe

    def counted(callback: Callable[..., Any], *args: Any) -> Any:
        wakeups.append(callback)
        return wake(callback, *args)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted, raising=False)
    return wakeups


@pytest.mark.parametrize("streams", [1, 64])
def test_loop_is_woken_once_for_a_batch(monkeypatch: pytest.MonkeyPatch, streams: int) -> None:
    async def run() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        wakeups = count_wakeups(loop, monkeypatch)
        mailbox, received = Mailbox(loop), list[Item]()

        def emit() -> None:
            for _ in range(streams):
                mailbox.put(received.append, (0, token(1)))

        for _ in range(3):
            thread = threading.Thread(target=emit)
            thread.start()
            thread.join()  # as if the loop was busy
            await asyncio.sleep(0)
        return len(wakeups), len(received)

    assert asyncio.run(run()) == (3, 3 * streams)


def test_events_of_threads_arrive_in_order() -> None:
    threads, count = 4, 5000

    async def run() -> list[list[int]]:
        mailbox = mailbox_of(asyncio.get_running_loop())
        received: list[list[Item]] = [[] for _ in range(threads)]

        def emit(items: list[Item]) -> None:
            for i in range(count):
                mailbox.put(items.append, (i, RequestFinished()))
                if i % 100 == 0:
                    time.sleep(0)

        started = [threading.Thread(target=emit, args=(items,)) for items in received]
        for thread in started:
            thread.start()
        async with asyncio.timeout(60):
            while any(len(items) < count for items in received):
                await asyncio.sleep(0.001)
        return [[i for i, _ in items] for items in received]

    assert asyncio.run(run()) == [list(range(count))] * threads


def test_event_after_the_loop_was_closed_is_dropped() -> None:
    async def own() -> Mailbox:
        return mailbox_of(asyncio.get_running_loop())

    mailbox, received = asyncio.run(own()), list[Item]()
    for i in range(2):
        mailbox.put(received.append, (0, token(i)))
    assert received == []


def test_loops_have_mailboxes_of_their_own() -> None:
    async def own() -> tuple[Mailbox, ref[asyncio.AbstractEventLoop]]:
        loop = asyncio.get_running_loop()
        assert mailbox_of(loop) is mailbox_of(loop)
        return mailbox_of(loop), ref(loop)

    (first, old), (second, _) = asyncio.run(own()), asyncio.run(own())
    gc.collect()
    assert first is not second
    assert old() is None  # a mailbox does not keep its loop


class SilentEngine(ToyEngine):
    """An engine that emits events of a request when the test says so."""

    on_event: Callable[[Event], None]

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        self.on_event = on_event
        return 0


def test_quiet_engine_is_checked_and_the_stream_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "HEALTH_CHECK_TIMEOUT", 0.01)
    engine, checks = SilentEngine(), 0
    stats = engine.stats

    def counted() -> Any:
        nonlocal checks
        checks += 1
        return stats()

    engine.stats = counted  # type: ignore[method-assign]

    async def run() -> list[Event]:
        async with Stream(engine, [REQUEST]) as events:
            await asyncio.wait([waiting := asyncio.create_task(anext(events))], timeout=0.1)
            engine.on_event(token(5))
            first = await waiting
            engine.on_event(RequestFinished())
            return [first[1], *[event async for _, event in events]]

    assert asyncio.run(run()) == [token(5), RequestFinished()]
    assert checks >= 3
    engine.close()


def test_deadline_ends_a_stream_with_events() -> None:
    engine = SilentEngine()

    async def run() -> int:
        seen, start = 0, time.monotonic()
        with pytest.raises(DeadlineExceeded):
            async with Stream(engine, [REQUEST], deadline=start + 0.1) as events:
                engine.on_event(token(0))
                async for _ in events:
                    seen += 1
                    engine.on_event(token(seen))
        assert time.monotonic() - start < 5
        return seen

    assert asyncio.run(run()) > BURST
    engine.close()
