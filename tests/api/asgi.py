"""One request to an ASGI app by hand, for what no HTTP client can do: a client that goes away in
the middle, or sends its body in pieces.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from starlette.types import ASGIApp, Message

Headers = dict[str, str]


class Call:
    """POST `parts` to `path`, and keep what is sent back.

    leave_when: called with each message that is sent; the client goes away when it says so.
    """

    def __init__(
        self,
        parts: Iterable[bytes],
        path: str = "/v1/completions",
        headers: Headers | None = None,
        leave_when: Callable[[Message], bool] = lambda message: False,
        ends: bool = True,
    ) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self.read = 0
        self._parts = list(parts)
        self._ends = ends
        self._leave_when = leave_when
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
        starts = [m["status"] for m in self.sent if m["type"] == "http.response.start"]
        return starts[0] if starts else None

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent)

    async def _receive(self) -> dict[str, Any]:
        if self.read < len(self._parts):
            self.read += 1
            more = not self._ends or self.read < len(self._parts)
            return {"type": "http.request", "body": self._parts[self.read - 1], "more_body": more}
        if self._ends:
            await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if self._leave_when(message):
            self.gone.set()
        await asyncio.sleep(0)
