"""uvicorn, with a gentle end: on SIGTERM new requests get 503 and those that run are finished."""

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from api.service import Service

DRAIN_SECONDS = 30.0
CLOSE_SECONDS = 5


class Server(uvicorn.Server):
    """ready: called with the port once it is listening. A second signal does not wait."""

    def __init__(self, app: Starlette, host: str, port: int, ready: Callable[[int], None]) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=CLOSE_SECONDS,
        )
        super().__init__(config)
        self._service: Service = app.state.service
        self._ready = ready
        self._deadline: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM or self._service.draining:
            super().handle_exit(sig, frame)
            return
        self._service.draining = True
        self._deadline = time.monotonic() + DRAIN_SECONDS

    async def on_tick(self, counter: int) -> bool:
        if self._deadline is not None:
            late = time.monotonic() >= self._deadline
            self.should_exit |= late or self._service.in_flight == 0
        return await super().on_tick(counter)
