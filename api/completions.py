"""The handler of POST …/completions, from the first header to the last byte."""

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from api.encoding import ENCODER, Buffer, send_pieces
from api.engine import ServedModel
from api.errors import invalid_timeout, request_timeout, to_api_error
from api.observability.record import RequestRecord, record_of
from api.prepare import check_response_values, prepare
from api.response import ResponseBuilder
from api.schema.parsing import read_body
from api.schema.request import CompletionRequest
from api.schema.unknown_fields import ignored_header
from api.service import ParsedRequest, Service
from api.sse import Json, send_events
from api.stream import DeadlineExceeded, Stream

# Images are decoded by few threads: decoding takes memory, and text requests must not wait for it.
IMAGE_THREADS = ThreadPoolExecutor(2, "images")
# Bytes of a body that is parsed faster than another thread could begin to, also to refuse it.
SHORT_BODY = 2**14


@dataclass(frozen=True)
class Completions:
    """The endpoint as an ASGI app.

    The order of its steps is the priority of errors: 401, 503 (draining), 413, 422, 404,
    400 (timeout), 503 (engine), 400 (too many sequences), 429, 400.
    """

    service: Service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, record = Request(scope, receive), record_of(scope)
        record.is_completion = True
        record.principal = self.service.keys.principal(request.headers)
        self.service.ensure_accepting()
        try:
            body = await read_body(request, self.service.max_body_bytes)
        except ClientDisconnect:
            record.disconnected = True
            return
        if len(body) <= SHORT_BODY:
            parsed = self.service.parse_request(body)
        else:
            parsed = await asyncio.to_thread(self.service.parse_request, body)
        timeout = requested_timeout(request.headers, self.service.request_timeout)
        handle = parsed.handle
        record.model = handle.served_model.name
        record.on_latency = self.service.metrics.latency.labels(record.model).observe
        handle.ensure_healthy()
        with handle.admission.admit(record.principal, len(parsed.body.prompts()), parsed.body.n):
            response = respond(parsed, record, self.service, timeout, send)
            del body, parsed  # megabytes of base64: `respond` drops them when images are decoded
            record.disconnected = not await finishes(response, receive)


def requested_timeout(headers: Headers, limit: float | None) -> float:
    """Return the time for a request in seconds: the shorter of the header's and the server's.

    Raises ApiError 400 if the header `x-request-timeout` is not a positive number.
    """
    sent = headers.get("x-request-timeout")
    try:
        seconds = math.inf if sent is None else float(sent)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise invalid_timeout(sent or "")
    return min(seconds, limit or math.inf)


async def respond(
    parsed: ParsedRequest, record: RequestRecord, service: Service, timeout: float, send: Send
) -> None:
    """Generate and send a response. Cancellation aborts the request in the engine."""
    served_model, headers = parsed.handle.served_model, ignored_header(parsed.ignored)
    has_images = parsed.body.data is not None and parsed.body.data.image
    executor = IMAGE_THREADS if has_images else None
    loop = asyncio.get_running_loop()
    builder = await loop.run_in_executor(
        executor,
        start_response,
        served_model,
        parsed.body,
        record.principal,
        service.max_response_values,
    )
    del parsed
    prepared = builder.prepared
    stream = Stream(served_model.engine, prepared.requests, record.on_event, record.start + timeout)
    try:
        async with stream as events:
            if prepared.params.stream:
                bodies = event_bodies(builder, events, record, timeout)
                await send_events(send, headers, bodies, service.keep_alive)
                return
            choices = await builder.choices(events)
    except DeadlineExceeded:
        raise request_timeout(timeout) from None
    finally:
        note_response(record, builder)
    json = await loop.run_in_executor(ENCODER, builder.response_json, choices)
    await send_json(send, headers, json)


def note_response(record: RequestRecord, builder: ResponseBuilder) -> None:
    """Add the usage of a response, which may not be complete, to the record."""
    usage = builder.usage
    record.completion_id, record.finish_reasons = builder.id, builder.finish_reasons
    record.prompt_tokens, record.completion_tokens = usage.prompt_tokens, usage.completion_tokens
    record.cached_tokens = usage.prompt_tokens_details.cached_tokens


def start_response(
    served_model: ServedModel, body: CompletionRequest, principal: str, limit: int
) -> ResponseBuilder:
    """Prepare a request and its response.

    Raises ApiError 400 if the model cannot serve it, or the response can exceed the limit.
    """
    prepared = prepare(served_model, body, principal)
    check_response_values(prepared, limit)
    return ResponseBuilder(prepared)


async def event_bodies(
    builder: ResponseBuilder, events: Stream, record: RequestRecord, timeout: float
) -> AsyncIterator[list[Json]]:
    """Yield the JSON of the events to send, token by token. Raises ApiError."""
    try:
        async for updates in builder.updates(events):
            yield [builder.event_json(update) for update in updates]
    except Exception as failure:
        is_late = isinstance(failure, DeadlineExceeded)
        error = request_timeout(timeout) if is_late else to_api_error(failure)
        record.error = error.code
        raise error from failure


async def send_json(send: Send, headers: Mapping[str, str], pieces: Sequence[Buffer]) -> None:
    """Send a JSON body that is complete, in pieces."""
    length = str(sum(map(len, pieces)))
    fixed = {"content-type": "application/json", "content-length": length}
    raw = MutableHeaders(headers={**fixed, **headers}).raw
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await send_pieces(send, pieces)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def finishes(work: Coroutine[Any, Any, None], receive: Receive) -> bool:
    """Run `work`, and cancel it if the client disconnects. Return whether it has finished."""
    task = asyncio.create_task(work)
    disconnect = asyncio.create_task(wait_for_disconnect(receive))
    try:
        await asyncio.wait((task, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        return task.done()
    finally:
        task.cancel()
        disconnect.cancel()
        await asyncio.gather(task, disconnect, return_exceptions=True)


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has disconnected. The body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
