"""Server-sent events: `data: {json}`, an empty line, and `data: [DONE]` at the end.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import logging
from collections.abc import AsyncIterator, Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from api.errors import to_api_error

logger = logging.getLogger(__name__)

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


# Line breaks in Unicode, but not in server-sent events. Clients that split a stream with
# `str.splitlines`, such as httpx's `iter_lines`, would cut an event in two.
LINE_SEPARATORS = {c: json.dumps(c)[1:-1] for c in "\x85\u2028\u2029"}


def format_event(data: str) -> bytes:
    """Return the bytes of one event.

    data: JSON or `[DONE]`, which has no line breaks of server-sent events, so one `data:` line is
    enough. The three other line separators of Unicode, which JSON allows in strings, are escaped.
    """
    for separator, escaped in LINE_SEPARATORS.items():
        data = data.replace(separator, escaped)
    return f"data: {data}\n\n".encode()


DONE = format_event("[DONE]")


async def send_events(
    send: Send, headers: Mapping[str, str], events: AsyncIterator[list[str]]
) -> None:
    """Send each list of events when it is ready, then `[DONE]`.

    An error before the first list is raised: the response has not begun and can have the status
    of the error. A later error is sent as the last event.
    """
    first = await anext(events)
    await send(response_start(headers))
    try:
        await send(body_part(first))
        async for batch in events:
            if batch:
                await send(body_part(batch))
    except Exception as error:
        api_error = to_api_error(error)
        logger.warning("a stream ended with an error", exc_info=api_error.status == 500)
        await send(body_part([json.dumps(api_error.body)]))
    await send({"type": "http.response.body", "body": DONE, "more_body": False})


def response_start(headers: Mapping[str, str]) -> Message:
    raw = MutableHeaders(headers={**HEADERS, **headers}).raw
    return {"type": "http.response.start", "status": 200, "headers": raw}


def body_part(events: list[str]) -> Message:
    body = b"".join(format_event(event) for event in events)
    return {"type": "http.response.body", "body": body, "more_body": True}
