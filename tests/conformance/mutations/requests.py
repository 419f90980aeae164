"""Middleware that changes HTTP requests before the app reads them, or routes them elsewhere."""

import json
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reference.bundle import Bundle
from tests.conformance.mutations.engine import Json, conforming_app


def mutate_body(app: ASGIApp, change: Callable[[Json], Json]) -> ASGIApp:
    """Change the JSON object of each POST; a body that is not a JSON object is left unchanged."""

    async def mutant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await app(scope, receive, send)
        body = await read_body(receive)
        try:
            body = json.dumps(change(json.loads(body))).encode()
        except (ValueError, AttributeError, TypeError):
            pass
        await app(scope, replay_body(body, receive), send)

    return mutant


def mutate_raw_body(app: ASGIApp, change: Callable[[bytes], bytes]) -> ASGIApp:
    """Change the bytes of each POST's body."""

    async def mutant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await app(scope, receive, send)
        body = change(await read_body(receive))
        await app(without_content_length(scope), replay_body(body, receive), send)

    return mutant


def mutate_headers(app: ASGIApp, change: Callable[[dict[str, str]], dict[str, str]]) -> ASGIApp:
    """Change the headers of each request."""

    async def mutant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = change({k.decode(): v.decode() for k, v in scope["headers"]})
            raw = [(k.encode(), v.encode()) for k, v in headers.items()]
            scope = dict(scope) | {"headers": raw}
        await app(scope, receive, send)

    return mutant


def route_by_body(choose: Callable[[bytes], ASGIApp]) -> ASGIApp:
    """Let the body of a POST decide which app answers; it is empty for any other request."""

    async def router(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await choose(b"")(scope, receive, send)
        body = await read_body(receive)
        await choose(body)(scope, replay_body(body, receive), send)

    return router


def broken_when(model: Bundle, condition: Callable[[Json], Any], broken: ASGIApp) -> ASGIApp:
    """Route a request to a broken app if its JSON body meets a condition."""
    app = conforming_app(model)

    def choose(body: bytes) -> ASGIApp:
        try:
            return broken if condition(json.loads(body)) else app
        except (ValueError, AttributeError, TypeError):
            return app

    return route_by_body(choose)


def drop_fields(app: ASGIApp, *names: str) -> ASGIApp:
    """Accept parameters and ignore them."""
    return mutate_body(app, lambda body: {k: v for k, v in body.items() if k not in names})


def drop_field_unless(app: ASGIApp, name: str, is_valid: Callable[[Any], bool]) -> ASGIApp:
    """Ignore a field whose value is not valid."""

    def change(body: Json) -> Json:
        valid = is_valid(body.get(name))
        return body if valid else {k: v for k, v in body.items() if k != name}

    return mutate_body(app, change)


def clamp_field(app: ASGIApp, name: str, low: float, high: float) -> ASGIApp:
    """Replace a number out of range by the nearest number in it."""

    def clamp(body: Json) -> Json:
        value = body.get(name)
        return body | ({name: min(max(value, low), high)} if is_number(value) else {})

    return mutate_body(app, clamp)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def replace_field(app: ASGIApp, name: str, change: Callable[[Any], Any]) -> ASGIApp:
    """Change a field's value, which is None if it is omitted; a new value of None has no effect."""

    def replace(body: Json) -> Json:
        value = change(body.get(name))
        return body if value is None else body | {name: value}

    return mutate_body(app, replace)


def change_default(app: ASGIApp, name: str, value: Any) -> ASGIApp:
    """Give a field another default."""
    return mutate_body(app, lambda body: {name: value} | body)


async def read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a channel that delivers a body that was already read, then what the client sends."""
    delivered = False

    async def replay() -> Message:
        nonlocal delivered
        if delivered:
            return await receive()
        delivered = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def without_content_length(scope: Scope) -> Scope:
    """Remove the length of a body that was changed."""
    headers = [h for h in scope["headers"] if h[0] != b"content-length"]
    return {**scope, "headers": headers}
