"""Protection of a server without keys from web pages, and CORS.

A browser sends requests to this machine on behalf of any page. `Origin` names the page. A page
whose own domain resolves to 127.0.0.1 (DNS rebinding) has the same origin as this server, but
`Host` is its domain.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import ApiError, forbidden_host, forbidden_origin, on_api_error
from api.security.hosts import is_loopback_host, is_loopback_origin


class Origins(CORSMiddleware):
    """CORS for some origins. local: whether every other page and every other host is refused.

    A local server also allows the origins of this machine.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str], local: bool) -> None:
        super().__init__(
            app,
            allow_origins=allowed,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),
            expose_headers=("retry-after", "x-ignored-parameters", "x-request-id"),
        )
        self.local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # the lifespan of the app
            await self.app(scope, receive, send)
        elif error := self.refusal(Headers(scope=scope)):
            await on_api_error(Request(scope), error)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def refusal(self, headers: Headers) -> ApiError | None:
        """Return the error of a request that a local server refuses.

        Clients that are not browsers may send neither header.
        """
        if not self.local:
            return None
        for host in headers.getlist("host"):
            if not is_loopback_host(host):
                return forbidden_host(host)
        for origin in headers.getlist("origin"):
            if not self.is_allowed_origin(origin):
                return forbidden_origin(origin)
        return None

    def is_allowed_origin(self, origin: str) -> bool:
        return super().is_allowed_origin(origin) or (self.local and is_loopback_origin(origin))
