"""The ways to break a server: how it draws, what it is told, what it says."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.app import create_app
from api.engine import Engine, Served
from conformance.oracle.dialects import Chain
from reference import sampler
from reference.bundle import Bundle
from reference.engine import ReferenceEngine
from reference.generate import Sampler
from reference.logits import Logits
from reference.request import Event, Request

Json = dict[str, Any]
NAME = "tiny"


def served(model: Bundle, engine: Engine | None = None, sample: Sampler = sampler.sample) -> Served:
    """A model behind the endpoint, by the reference unless another engine is given."""
    return Served(
        name=NAME,
        engine=engine or ReferenceEngine(model, sample),
        tokenizer=model.tokenizer,
        vocab_size=model.vocab_size,
        context=model.context,
        sight=model.sight,
        build="tiny",
    )


def whole(model: Bundle, **options: Any) -> ASGIApp:
    """Nothing is broken."""
    return create_app([served(model)], **options)


def drawing(model: Bundle, sample: Sampler) -> ASGIApp:
    """Tokens are drawn in another way."""
    return create_app([served(model, sample=sample)])


def steps(model: Bundle, final: Chain) -> ASGIApp:
    """Another chain of steps leads from the model's logits to those that a token is drawn from."""

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        return sampler.choose(final(logits, history), noise)

    return drawing(model, sample)


class Telling:
    """An engine that is told something else than was asked."""

    def __init__(self, engine: Engine, change: Callable[[Request], Request]) -> None:
        self.engine, self.change = engine, change
        self.abort, self.stats, self.close = engine.abort, engine.stats, engine.close

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        return self.engine.submit(self.change(request), on_event)


def telling(model: Bundle, change: Callable[[Request], Request]) -> ASGIApp:
    """The engine is told something else than was asked; the text is made as was asked."""
    return create_app([served(model, Telling(ReferenceEngine(model), change))])


def params(request: Request, **changed: Any) -> Request:
    """A request with other parameters."""
    return replace(request, params=replace(request.params, **changed))


def asking(app: ASGIApp, change: Callable[[Json], Json]) -> ASGIApp:
    """The body of each POST is changed before anybody reads it."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await app(scope, receive, send)
        body = await read(receive)
        try:
            body = json.dumps(change(json.loads(body))).encode()
        except (ValueError, AttributeError, TypeError):
            pass  # what is no object is left as it is
        told = False

        async def again() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await app(scope, again, send)

    return broken


async def read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def without(app: ASGIApp, *names: str) -> ASGIApp:
    """Parameters that are accepted and dropped."""
    return asking(app, lambda body: {k: v for k, v in body.items() if k not in names})


def answering(
    app: ASGIApp,
    whole: Callable[[Json], Json] = lambda answer: answer,
    event: Callable[[Json], Json | None] = lambda event: event,
) -> ASGIApp:
    """What is sent is changed: a whole answer, or each event of a stream (None: it is left out)."""
    return rewriting(app, lambda text, kind: rewritten(text, kind, whole, event))


def rewritten(
    text: str, kind: str, whole: Callable[[Json], Json], event: Callable[[Json], Json | None]
) -> str:
    if "text/event-stream" not in kind:
        return json.dumps(whole(json.loads(text)))
    found = []
    for frame in text.split("\n\n"):
        data = frame.removeprefix("data: ")
        if frame and data != "[DONE]":
            changed = event(json.loads(data))
            frame = "" if changed is None else f"data: {json.dumps(changed)}"
            if changed is None:
                continue
        found.append(frame)
    return "\n\n".join(found)


def rewriting(
    app: ASGIApp, change: Callable[[str, str], str], statuses: tuple[int, ...] = (200,)
) -> ASGIApp:
    """The text of each response of these statuses is changed, given its content type too. It is
    sent in one piece.
    """

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
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

    return broken


def each_choice(change: Callable[[Json], None]) -> Callable[[Json], Json]:
    """Of an answer or an event: a change of each of its choices, in place."""

    def changed(answer: Json) -> Json:
        for choice in answer.get("choices", ()):
            change(choice)
        return answer

    return changed


Said = tuple[int, dict[str, str], str]


def replying(app: ASGIApp, change: Callable[[Scope, Said], Said]) -> ASGIApp:
    """The whole response is changed, given the request's scope: status, headers, text. It is sent
    in one piece.
    """

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
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

    return broken


def hearing(app: ASGIApp, change: Callable[[dict[str, str]], dict[str, str]]) -> ASGIApp:
    """The headers of each request are changed before anybody reads them."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            heard = change({k.decode(): v.decode() for k, v in scope["headers"]})
            raw = [(k.encode(), v.encode()) for k, v in heard.items()]
            scope = dict(scope) | {"headers": raw}
        await app(scope, receive, send)

    return broken


def receiving(app: ASGIApp, change: Callable[[bytes], bytes]) -> ASGIApp:
    """The bytes of each POST's body are changed before anybody reads them."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await app(scope, receive, send)
        body = change(await read(receive))
        await app(unannounced(scope), sending(body, receive), send)

    return broken


def by_body(choose: Callable[[bytes], ASGIApp]) -> ASGIApp:
    """The body of a POST decides which app answers; for any other request it is empty."""

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await choose(b"")(scope, receive, send)
        body = await read(receive)
        await choose(body)(scope, sending(body, receive), send)

    return either


def sending(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, and then whatever comes."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def unannounced(scope: Scope) -> Scope:
    """Without the length of a body that is another now."""
    headers = [h for h in scope["headers"] if h[0] != b"content-length"]
    return {**scope, "headers": headers}


def sometimes(model: Bundle, when: Callable[[Json], Any], broken: ASGIApp) -> ASGIApp:
    """Only those requests go to a broken app whose bodies are such."""
    app = whole(model)

    def choose(body: bytes) -> ASGIApp:
        try:
            return broken if when(json.loads(body)) else app
        except (ValueError, AttributeError, TypeError):
            return app

    return by_body(choose)


def forgiving(app: ASGIApp, name: str, fine: Callable[[Any], bool]) -> ASGIApp:
    """A field whose value is not fine is dropped."""

    def change(body: Json) -> Json:
        return body if fine(body.get(name)) else {k: v for k, v in body.items() if k != name}

    return asking(app, change)


class Delivering:
    """An engine whose events are changed, given the request."""

    def __init__(self, engine: Engine, change: Callable[[Request, Event], Event]) -> None:
        self.engine, self.change = engine, change
        self.abort, self.stats, self.close = engine.abort, engine.stats, engine.close

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> int:
        return self.engine.submit(request, lambda event: on_event(self.change(request, event)))


def delivering(model: Bundle, change: Callable[[Request, Event], Event]) -> ASGIApp:
    """The engine's events are changed."""
    return create_app([served(model, Delivering(ReferenceEngine(model), change))])


def cutting(model: Bundle, cut: Callable[[str, list[str]], tuple[int, str] | None]) -> ASGIApp:
    """Whole answers end where `cut` says, given a text (the echoed prompt and all) and the stop
    strings: at a character, for a string; None to leave it.
    """

    def stopping(body: bytes) -> ASGIApp:
        stops = json.loads(body).get("stop") if body else None

        def change(choice: Json) -> None:
            found = cut(choice["text"], [stops] if isinstance(stops, str) else stops)
            if found is not None:
                end, stop = found
                ended = {"finish_reason": "stop", "stop_reason": stop}
                choice.update(ended, text=choice["text"][:end])

        return answering(without(app, "stop"), whole=each_choice(change)) if stops else app

    app = whole(model)
    return by_body(stopping)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def clamping(app: ASGIApp, name: str, low: float, high: float) -> ASGIApp:
    """A number out of range is moved to the nearest in it."""

    def clamp(body: Json) -> Json:
        value = body.get(name)
        return body | ({name: min(max(value, low), high)} if is_number(value) else {})

    return asking(app, clamp)


def replacing(app: ASGIApp, name: str, becomes: Callable[[Any], Any]) -> ASGIApp:
    """A field's value is another; None if it is left out, and stays so if it becomes None."""

    def replace(body: Json) -> Json:
        value = becomes(body.get(name))
        return body if value is None else body | {name: value}

    return asking(app, replace)


def defaulting(app: ASGIApp, name: str, value: Any) -> ASGIApp:
    """A field has another default."""
    return asking(app, lambda body: {name: value} | body)
