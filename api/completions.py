"""POST …/completions, from the first header to the last byte."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.engine import Stream
from api.prepare import place
from api.response import Answer
from api.schema.parsing import read
from api.service import Call, Service, ignored_header
from api.sse import send_events

# Pictures are unpacked by few at a time: each takes memory, and text alone must not wait for them.
PICTURES = ThreadPoolExecutor(2, "pictures")


@dataclass(frozen=True)
class Completions:
    """The endpoint as an ASGI app. The order of its steps is the order in which errors win: 401,
    503 (draining), 413, 422, 404, 503 (engine), 429, 400.
    """

    service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        principal = self.service.keys.principal(request.headers)
        self.service.admit()
        try:
            body = await read(request, self.service.max_body_bytes)
        except ClientDisconnect:
            return
        call = await asyncio.to_thread(self.service.read, body)
        del body
        with call.lane.slot():
            await while_connected(receive, answer(call, principal, scope, receive, send))


async def answer(call: Call, principal: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Generate and send. Cancelled, it leaves nothing running in the engine."""
    served, headers = call.lane.served, ignored_header(call.ignored)
    executor = PICTURES if call.asked.data and call.asked.data.image else None
    loop = asyncio.get_running_loop()
    order = await loop.run_in_executor(executor, place, served, call.asked, principal)
    result = Answer(order)
    async with Stream(served.engine, order.requests) as events:
        if order.params.stream:
            await send_events(send, headers, chunks(result, events))
            return
        json = await whole(result, events)
    await Response(json, 200, headers, "application/json")(scope, receive, send)


async def chunks(result: Answer, events: Stream) -> AsyncIterator[list[str]]:
    """The JSON of the events to send, token by token."""
    async for steps in result.follow(events):
        yield [result.chunk(step) for step in steps]


async def whole(result: Answer, events: Stream) -> str:
    """The JSON of the whole response. Raises ApiError."""
    return result.whole([step async for steps in result.follow(events) for step in steps])


async def while_connected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or as much of it as is done when the client goes away."""
    task, gone = asyncio.create_task(work), asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    """Return when the client is gone. The body has been read: nothing else is to come."""
    while (await receive())["type"] != "http.disconnect":
        pass
