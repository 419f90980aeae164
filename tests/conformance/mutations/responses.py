"""Middleware that changes HTTP responses before they are sent."""

import json
from collections.abc import Callable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reference.bundle import Bundle
from reference.params import CompletionParams
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import drop_fields, route_by_body

RawResponse = tuple[int, dict[str, str], str]


def mutate_response(app: ASGIApp, change: Callable[[Scope, RawResponse], RawResponse]) -> ASGIApp:
    """Change status, headers and text of each response, given the request's scope.

    The response is sent in one piece.
    """

    async def mutant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        parts: list[Message] = []

        async def collect(message: Message) -> None:
            parts.append(message)

        await app(scope, receive, collect)
        if not parts:
            return
        headers = {k.decode(): v.decode() for k, v in parts[0]["headers"]}
        headers.pop("content-length", None)
        text = b"".join(m.get("body", b"") for m in parts).decode()
        status, headers, text = change(scope, (parts[0]["status"], headers, text))
        raw = [(k.encode(), v.encode()) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": text.encode()})

    return mutant


def mutate_text(
    app: ASGIApp, change: Callable[[str, str], str], statuses: tuple[int, ...] = (200,)
) -> ASGIApp:
    """Change the text of responses with some statuses, given also the content type.

    The response is sent in one piece.
    """

    async def mutant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        start: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            text = body
            if start["status"] in statuses:
                headers = dict(start["headers"])
                text = change(body.decode(), headers.get(b"content-type", b"").decode()).encode()
            start["headers"] = [h for h in start["headers"] if h[0] != b"content-length"]
            await send(start)
            await send({"type": "http.response.body", "body": text})

        await app(scope, receive, collect)

    return mutant


def mutate_json(
    app: ASGIApp,
    whole: Callable[[Json], Json] = lambda completion: completion,
    event: Callable[[Json], Json | None] = lambda event: event,
) -> ASGIApp:
    """Change a completion, or each event of a stream; an event that becomes None is left out."""
    return mutate_text(app, lambda text, kind: mutated_json(text, kind, whole, event))


def mutated_json(
    text: str, kind: str, whole: Callable[[Json], Json], event: Callable[[Json], Json | None]
) -> str:
    if "text/event-stream" not in kind:
        return json.dumps(whole(json.loads(text)))
    frames = []
    for frame in text.split("\n\n"):
        data = frame.removeprefix("data: ")
        if frame and data != "[DONE]":
            changed = event(json.loads(data))
            if changed is None:
                continue
            frame = f"data: {json.dumps(changed)}"
        frames.append(frame)
    return "\n\n".join(frames)


def each_choice(change: Callable[[Json], None]) -> Callable[[Json], Json]:
    """Return a function that changes each choice of a completion or an event in place."""

    def changed(completion: Json) -> Json:
        for choice in completion.get("choices", ()):
            change(choice)
        return completion

    return changed


def truncate_text(
    model: Bundle, cut: Callable[[str, list[str]], tuple[int, str] | None]
) -> ASGIApp:
    """Replace the search for stop strings in completions that are not streamed.

    cut: from the text (with the echoed prompt) and the stop strings, the end of the text and the
    stop string that ended it; None to keep the text.
    """

    def choose(body: bytes) -> ASGIApp:
        stops = json.loads(body).get("stop") if body else None

        def change(choice: Json) -> None:
            match = cut(choice["text"], [stops] if isinstance(stops, str) else stops)
            if match is not None:
                end, stop = match
                reasons = {"finish_reason": "stop", "stop_reason": stop}
                choice.update(reasons, text=choice["text"][:end])

        return mutate_json(drop_fields(app, "stop"), whole=each_choice(change)) if stops else app

    app = conforming_app(model)
    return route_by_body(choose)


def refuse_field(model: Bundle, name: str, status: int, neutral: bool) -> ASGIApp:
    """Refuse a parameter by its name. neutral: also its neutral values and its default."""
    app = conforming_app(model)
    message = f'{{"error": {{"message": "{name} is not supported", "param": "{name}"}}}}'
    refusing = mutate_response(
        app, lambda scope, response: (status, {"content-type": "application/json"}, message)
    )

    def choose(raw: bytes) -> ASGIApp:
        try:
            body: Json = json.loads(raw)
            value = body.get(name)
        except (ValueError, AttributeError):
            return app
        if not isinstance(body, Mapping) or name not in body:
            return app
        off = value is None or value is False or value in ([], {})
        is_neutral = off or value == getattr(CompletionParams(), name)
        return app if is_neutral and not neutral else refusing

    return route_by_body(choose)
