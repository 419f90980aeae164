"""The handler of `POST /v1/explain`: a stream of completion events, with an event before each that
explains its token.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from api.admission import Admission
from api.completions import finishes, note_response, requested_timeout
from api.errors import ApiError, request_timeout, to_api_error
from api.observability.record import RequestRecord, record_of
from api.prepare import PreparedRequest, check_response_values, prepare
from api.response import ResponseBuilder
from api.schema.parsing import read_body
from api.schema.unknown_fields import ignored_header
from api.service import ModelHandle, Service
from api.sse import Json, send_events
from api.stream import DeadlineExceeded, Stream
from explain.engine import ExplainedModel, Models, TokenExplained
from explain.limits import MAX_CONCURRENCY, MAX_LOGITS, MAX_TOKENS
from explain.schema import ParsedExplain, Report, parse
from reference.bundle import Bundle
from reference.generate import initial_history, start_grammar
from reference.output_text import TokenDisplay
from reference.request import Event
from reference.request import Request as EngineRequest
from reference.stopping import token_budget


@dataclass
class Latest:
    """Observer of a stream that keeps its latest event."""

    record: RequestRecord
    event: Event | None = None

    def __call__(self, prompt: int, event: Event) -> None:
        self.record.on_event(prompt, event)
        self.event = event


@dataclass(frozen=True)
class Explain:
    """The endpoint as an ASGI app. models: those that can be explained, by the name of the model.

    Keys, headers, errors and limits are those of completions (`api.completions`), whose limit of
    sequences in flight includes those of this endpoint; its own bounds are in `explain.limits`.
    """

    service: Service
    models: Models
    admissions: dict[str, Admission] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, record = Request(scope, receive), record_of(scope)
        record.principal = self.service.keys.principal(request.headers)
        self.service.ensure_accepting()
        try:
            body = await read_body(request, self.service.max_body_bytes)
        except ClientDisconnect:
            record.disconnected = True
            return
        parsed = await asyncio.to_thread(parse, self.service, body)
        timeout = requested_timeout(request.headers, self.service.request_timeout)
        handle, n = parsed.handle, parsed.body.n
        record.model = handle.served_model.name
        prompts = len(parsed.body.prompts())
        if prompts > 1:
            raise ApiError(400, "too_many_prompts", f"prompt: must be one, got {prompts}", "prompt")
        with (
            self.admission(handle).admit(record.principal, 1, n),
            handle.admission.admit(record.principal, 1, n),
        ):
            response = self.respond(parsed, record, timeout, send)
            record.disconnected = not await finishes(response, receive)

    def admission(self, handle: ModelHandle) -> Admission:
        """Return the admission of a model's explained sequences."""
        name, fair = handle.served_model.name, handle.admission.fair
        return self.admissions.setdefault(name, Admission(MAX_CONCURRENCY, fair=fair))

    async def respond(
        self, parsed: ParsedExplain, record: RequestRecord, timeout: float, send: Send
    ) -> None:
        """Generate and send the stream. Cancellation aborts the request in the engine."""
        model = self.models[parsed.handle.served_model.name]
        builder = await asyncio.to_thread(
            start, model, parsed, record.principal, self.service.max_response_values
        )
        try:
            bodies = event_bodies(builder, record, timeout, parsed.report.logits)
            await send_events(send, ignored_header(parsed.ignored), bodies, self.service.keep_alive)
        finally:
            note_response(record, builder)


def start(
    model: ExplainedModel, parsed: ParsedExplain, principal: str, limit: int
) -> ResponseBuilder:
    """Prepare a request and its response. Without a seed it gets a random one, which is reported.

    Raises ApiError 400 if the model cannot serve it, or it exceeds a limit.
    """
    report = parsed.report
    prepared = prepare(model.explaining(report), parsed.body, principal)
    check_response_values(prepared, limit)
    [request] = prepared.requests
    check_size(prepared, report)
    check_forced(model.engine.model, request, report.forced)
    params = replace(prepared.params, seed=request.seed, stream=True)
    return ResponseBuilder(replace(prepared, params=params))


def check_size(prepared: PreparedRequest, report: Report) -> None:
    """Raise ApiError 400 if a response can have more tokens or logits than the limits."""
    params, model = prepared.params, prepared.served_model
    tokens = params.n * token_budget(params.max_tokens, model.context, len(prepared.ids[0]))
    if tokens > MAX_TOKENS:
        message = f"n × max_tokens: must be at most {MAX_TOKENS} to be explained, got {tokens}"
        raise ApiError(400, "response_too_large", message, "max_tokens")
    if report.logits and tokens * model.vocab_size > MAX_LOGITS:
        message = (
            f"logits: {tokens} tokens × {model.vocab_size} logits are more than {MAX_LOGITS} values"
        )
        raise ApiError(400, "response_too_large", message, "logits")


def check_forced(model: Bundle, request: EngineRequest, forced: tuple[int, ...]) -> None:
    """Raise ApiError 400 if a forced token is not allowed at its position, or one before it ends
    the output.
    """
    if not forced:
        return
    history, grammar = initial_history(model, request), start_grammar(model, request)
    ends = {*model.checkpoint.eos_token_ids, *request.params.stop_token_ids}
    budget = token_budget(request.params.max_tokens, model.context, len(request.prompt))
    if len(forced) > budget:
        raise refuse_forced(f"must have at most max_tokens = {budget} items, got {len(forced)}")
    for position, token in enumerate(forced):
        allowed = history.allowed if grammar is None else grammar.allowed()
        if not allowed[token]:
            raise refuse_forced(f"token {token} is not allowed at position {position}")
        if token in ends and position + 1 < len(forced):
            raise refuse_forced(f"token {token} at position {position} ends the output")
        if grammar is not None and token not in ends:
            grammar.push(token)


def refuse_forced(message: str) -> ApiError:
    return ApiError(400, "invalid_forced_token", f"forced: {message}", "forced")


async def event_bodies(
    builder: ResponseBuilder, record: RequestRecord, timeout: float, has_logits: bool
) -> AsyncIterator[list[Json]]:
    """Yield the JSON of the events: the start, and for each token its explanation, then the events
    of a completion. Raises ApiError.
    """
    prepared = builder.prepared
    latest = Latest(record)
    stream = Stream(prepared.served_model.engine, prepared.requests, latest, record.start + timeout)
    try:
        async with stream as events:
            yield [start_json(builder, has_logits)]
            finished: set[int] = set()
            async for updates in builder.updates(events):
                event = latest.event
                assert isinstance(event, TokenExplained)
                if event.choice in finished:  # sampled before the engine aborted the choice
                    continue
                finished |= {u.index for u in updates if u.delta.finish_reason is not None}
                yield [event.explanation, *map(builder.event_json, updates)]
    except Exception as failure:
        is_late = isinstance(failure, DeadlineExceeded)
        error = request_timeout(timeout) if is_late else to_api_error(failure)
        record.error = error.code
        raise error from failure


def start_json(builder: ResponseBuilder, has_logits: bool) -> bytes:
    """Return the first event: the seed, as a string because JavaScript has no 64-bit numbers, the
    tokens of the prompt, and with logits the texts of all tokens.
    """
    prepared = builder.prepared
    model = prepared.served_model
    display = TokenDisplay(model.tokenizer, as_ids=False)
    value: dict[str, Any] = {
        "object": "explain.start",
        "id": builder.id,
        "model": model.name,
        "seed": str(prepared.params.seed),
        "vocab_size": model.vocab_size,
        "prompt": [{"id": i, "text": display.name(i)} for i in prepared.ids[0]],
    }
    if has_logits:
        value["vocabulary"] = [display.name(i) for i in range(model.vocab_size)]
    return json.dumps(value).encode()
