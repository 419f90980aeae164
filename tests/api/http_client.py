"""Clients of the endpoint: shorthands for requests, joined streams, and a raw ASGI client."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from starlette.types import ASGIApp, Message

Json = dict[str, Any]
PATH = "/v1/openai/completions"


def post(client: Any, path: str = PATH, headers: Json | None = None, **body: Any) -> Any:
    """Send a request that is valid unless `body` changes it; a field set to `...` is left out."""
    body = {"model": "toy", "prompt": "w", "temperature": 0} | body
    return client.post(path, json={k: v for k, v in body.items() if v is not ...}, headers=headers)


def body_bytes(**body: Any) -> bytes:
    """Return the JSON of a valid request, changed by `body`."""
    return json.dumps({"model": "toy", "prompt": "w", "temperature": 0} | body).encode()


def complete(client: Any, **body: Any) -> Json:
    """Return the body of a successful response."""
    response = post(client, **body)
    assert response.status_code == 200, response.text
    completion: Json = response.json()
    return completion


def choices(client: Any, **body: Any) -> list[Json]:
    result: list[Json] = complete(client, **body)["choices"]
    return result


def choice(client: Any, **body: Any) -> Json:
    [result] = choices(client, **body)
    return result


def parse_events(text: str) -> list[Json]:
    """Return the events of a stream. Asserts its exact framing."""
    assert text.endswith("\n\n")
    frames = text.removesuffix("\n\n").split("\n\n")
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    *events, done = (frame.removeprefix("data: ") for frame in frames)
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


def stream(client: Any, **body: Any) -> list[Json]:
    response = post(client, **body, stream=True)
    assert response.status_code == 200, response.text
    return parse_events(response.text)


def join_events(events: list[Json]) -> Json:
    """Merge the events of a stream into the form of a whole response."""
    merged: dict[int, Json] = {}
    usage = None
    for event in events:
        [new] = event["choices"]
        usage = event.get("usage", usage)
        if new["index"] in merged:
            extend(merged[new["index"]], new)
        else:
            merged[new["index"]] = new
    return {"choices": [merged[i] for i in sorted(merged)], "usage": usage}


def extend(merged: Json, new: Json) -> None:
    assert merged["finish_reason"] is None, "an event follows the end of its choice"
    merged["text"] += new["text"]
    for key in "finish_reason", "stop_reason":
        merged[key] = new[key]
    for key in new["logprobs"] or ():
        merged["logprobs"][key] += new["logprobs"][key]


def error_locations(response: Any) -> list[tuple[str, list[Any]]]:
    """Return (type, loc without "body") of each error of a 422."""
    assert response.status_code == 422, response.text
    detail = response.json()["detail"]
    assert all(error["loc"][0] == "body" and error["msg"] for error in detail)
    return [(error["type"], error["loc"][1:]) for error in detail]


class RawRequest:
    """A POST to an ASGI app without an HTTP client: it can disconnect, or send its body in parts.

    disconnect_when: called with each message of the app; the client disconnects when it returns
    true. is_complete: false if the client disconnects after the last part.
    """

    def __init__(
        self,
        parts: Iterable[bytes],
        path: str = "/v1/completions",
        headers: dict[str, str] | None = None,
        disconnect_when: Callable[[Message], bool] = lambda message: False,
        is_complete: bool = True,
    ) -> None:
        self.messages: list[Message] = []
        self.disconnected = asyncio.Event()
        self.parts_read = 0
        self._parts = list(parts)
        self._is_complete = is_complete
        self._disconnect_when = disconnect_when
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(k.encode(), v.encode()) for k, v in (headers or {}).items()],
        }

    async def run(self, app: ASGIApp) -> None:
        await app(self._scope, self._receive, self._send)

    @property
    def status(self) -> int | None:
        """The status of the response; None if it has not begun."""
        starts = [m["status"] for m in self.messages if m["type"] == "http.response.start"]
        return starts[0] if starts else None

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages)

    async def _receive(self) -> dict[str, Any]:
        if self.parts_read < len(self._parts):
            part = self._parts[self.parts_read]
            self.parts_read += 1
            more = not self._is_complete or self.parts_read < len(self._parts)
            return {"type": "http.request", "body": part, "more_body": more}
        if self._is_complete:
            await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.messages.append(message)
        if self._disconnect_when(message):
            self.disconnected.set()
        await asyncio.sleep(0)
