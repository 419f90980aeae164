"""The middleware that observes every request: metrics, log, trace, and `x-request-id`."""

from collections.abc import Callable, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.observability.record import RequestRecord

Observer = Callable[[RequestRecord], None]


class Observability:
    """Keeps a record of each request, and passes it to the observers at its end.

    The response has the request's id in `x-request-id`.
    """

    def __init__(self, app: ASGIApp, observers: Sequence[Observer]) -> None:
        self.app, self.observers = app, observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = RequestRecord.of(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            record.status, record.error = 500, record.error or "internal_error"
            raise
        finally:
            record.finish()
            for observe in self.observers:
                observe(record)
