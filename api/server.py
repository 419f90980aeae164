"""uvicorn, with a gentle end: on SIGTERM or SIGINT new requests get 503 and those that run are
finished. At a deadline, or on a second signal, the engines are closed: whatever still runs ends
with an error, which is sent as any other is.
"""

import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from api.service import Service

DRAIN_SECONDS = 30.0
CLOSE_SECONDS = 5


class Server(uvicorn.Server):
    """ready: called with the port once it is listening."""

    def __init__(self, app: Starlette, ready: Callable[[int], None]) -> None:
        config = uvicorn.Config(
            app,
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
        """uvicorn would send the signal again when all is done, and the process would die of it."""
        patience = 0.0 if self._service.draining else DRAIN_SECONDS
        self._service.draining = True
        self._deadline = time.monotonic() + patience

    async def on_tick(self, counter: int) -> bool:
        if self._deadline is not None:
            late = time.monotonic() >= self._deadline
            if late:
                self._close_engines()
            self.should_exit |= late or self._service.in_flight == 0
        return await super().on_tick(counter)

    def _close_engines(self) -> None:
        """On other threads: an engine may take a while, and here the errors are sent meanwhile (for
        that uvicorn leaves CLOSE_SECONDS).
        """
        for served in self._service.served:
            threading.Thread(target=served.engine.close, daemon=True).start()


def listen(host: str, port: int) -> list[socket.socket]:
    """A socket on each address of a host, all on one port. Raises OSError if one is taken."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(found):
        place = (address[0], port, *address[2:])
        sockets.append(socket.create_server(place, family=family))
        port = port or sockets[0].getsockname()[1]
    return sockets
