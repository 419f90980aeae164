"""Server-sent events: `data: {json}`, an empty line, and `data: [DONE]` at the end.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from api.encoding import PART, Buffer, send_pieces
from api.errors import to_api_error

logger = logging.getLogger(__name__)

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


# Line breaks in Unicode, but not in server-sent events. Clients that split a stream with
# `str.splitlines`, such as httpx's `iter_lines`, would cut an event in two.
LINE_SEPARATORS = {c.encode(): json.dumps(c)[1:-1].encode() for c in "\x85\u2028\u2029"}

Json = bytes | Iterable[Buffer]  # of one event, whole or in pieces that end between characters

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


def event_pieces(json: Json) -> Iterator[Buffer]:
    """Yield the bytes of one event.

    JSON has no line breaks of server-sent events, so one `data:` line is enough. The other line
    separators of Unicode, which it allows in strings, are escaped.
    """
    if isinstance(json, bytes) and json.isascii():  # most tokens
        yield b"data: %b\n\n" % json
        return
    yield b"data: "
    for piece in [json] if isinstance(json, bytes) else json:
        yield from escape_line_separators(memoryview(piece))
    yield b"\n\n"


def escape_line_separators(json: memoryview) -> Iterator[bytes]:
    """Escape U+0085, U+2028 and U+2029, and yield the result in parts.

    A part ends between characters. The UTF-8 of the three is part of no other character's.
    """
    start = 0
    while start < len(json):
        end = start + PART
        while end < len(json) and json[end] & 0xC0 == 0x80:  # within a character
            end -= 1
        part = bytes(json[start:end])
        for separator, escaped in LINE_SEPARATORS.items():
            part = part.replace(separator, escaped)
        yield part
        start = end


Events = AsyncIterator[Sequence[Json]]


async def send_events(
    send: Send, headers: Mapping[str, str], events: Events, keep_alive: float | None = None
) -> None:
    """Send each list of events when it is ready, then `[DONE]`.

    keep_alive: the seconds after which the response begins, with a comment, even if there is no
    event, and after which another comment is sent, until the first event. Proxies close a
    connection on which no byte arrives.

    An error before the response begins is raised: the response can have the status of the error.
    A later error is sent as the last event.
    """
    first = asyncio.ensure_future(anext(events))
    try:
        await asyncio.wait([first], timeout=keep_alive)
        if first.done():
            first.result()  # raises an error before the response begins
        await send(response_start(headers))
        await send_rest(send, first, events, keep_alive)
    finally:
        first.cancel()


async def send_rest(
    send: Send,
    first: asyncio.Future[Sequence[Json]],
    events: Events,
    keep_alive: float | None,
) -> None:
    """Send the events of a response that has begun: comments until the first event is ready, the
    events, and a last one for an error.
    """
    try:
        while not first.done():
            await send_pieces(send, [KEEP_ALIVE])
            await asyncio.wait([first], timeout=keep_alive)
        await send_pieces(send, chain.from_iterable(map(event_pieces, first.result())))
        async for batch in events:
            await send_pieces(send, chain.from_iterable(map(event_pieces, batch)))
    except Exception as error:
        api_error = to_api_error(error)
        logger.warning("a stream ended with an error", exc_info=api_error.status == 500)
        error_json = json.dumps(api_error.body).encode()
        await send_pieces(send, event_pieces(error_json))
    await send({"type": "http.response.body", "body": DONE, "more_body": False})


def response_start(headers: Mapping[str, str]) -> Message:
    raw = MutableHeaders(headers={**HEADERS, **headers}).raw
    return {"type": "http.response.start", "status": 200, "headers": raw}
