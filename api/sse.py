"""Server-sent events: `data: {json}`, an empty line, and `data: [DONE]` at the end.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import logging
from collections.abc import AsyncIterator, Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from api.errors import of_engine

logger = logging.getLogger(__name__)

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def frame(data: str) -> bytes:
    """One event. JSON has no line breaks, so one line is enough."""
    return f"data: {data}\n\n".encode()


DONE = frame("[DONE]")


async def send_events(
    send: Send, headers: Mapping[str, str], events: AsyncIterator[list[str]]
) -> None:
    """Send each list of events as it comes, then `[DONE]`.

    An error before the first list is raised: the response has not begun, and may have the status
    of the error. A later one is sent as the last event.
    """
    first = await anext(events)
    await send(start(headers))
    try:
        await send(part(first))
        async for more in events:
            if more:
                await send(part(more))
    except Exception as error:
        logger.warning("a stream was cut short", exc_info=of_engine(error).status == 500)
        await send(part([json.dumps(of_engine(error).body)]))
    await send({"type": "http.response.body", "body": DONE, "more_body": False})


def start(headers: Mapping[str, str]) -> Message:
    raw = MutableHeaders(headers={**HEADERS, **headers}).raw
    return {"type": "http.response.start", "status": 200, "headers": raw}


def part(events: list[str]) -> Message:
    body = b"".join(frame(event) for event in events)
    return {"type": "http.response.body", "body": body, "more_body": True}
