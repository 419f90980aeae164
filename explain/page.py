"""The routes of the page: `GET /`, its files, and the data about the steps. None needs a key."""

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from explain.specification import specification

STATIC = Path(__file__).resolve().parent / "static"
# Everything comes from this server. `data:` shows the images that the user has chosen.
POLICY = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class WithHeaders:
    """An app whose responses have the headers of the page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                raw = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message["headers"], *raw]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def routes() -> list[BaseRoute]:
    """Return the routes of the page."""
    return [
        Route("/", get_page),
        Route("/explain/specification.json", get_specification),
        Mount("/explain", WithHeaders(StaticFiles(directory=STATIC))),
    ]


async def get_page(request: Request) -> Response:
    """Handle GET /."""
    return FileResponse(STATIC / "index.html", headers=HEADERS)


async def get_specification(request: Request) -> Response:
    """Handle GET /explain/specification.json."""
    return JSONResponse(cached_specification(), headers=HEADERS)


cached_specification = cache(specification)
