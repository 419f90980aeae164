"""uvicorn with a graceful shutdown.

On SIGTERM or SIGINT the server drains: new requests get a 503, and requests in flight are finished.
After the drain timeout, or on a second signal, the engines are closed: each remaining request ends
with an error, which is sent like any other error.

A watchdog looks at the engines. If a step takes too long, the server is no longer live, every
request ends with an error, and the server stops. On several hosts it also stops when an engine
does: no host can go on alone.
"""

import gc
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Literal

import uvicorn
from starlette.applications import Starlette

from api.service import Service

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 5  # seconds
HANG_TIMEOUT = 2.0  # seconds in which an engine must end its step when it is closed


class Server(uvicorn.Server):
    """A uvicorn server that drains. on_ready: called with the port once the server is listening.

    drain_timeout: for the requests in flight after a signal. watchdog_timeout: of a step of an
    engine. Both are in seconds. stop_with_engines: whether to stop when an engine has stopped.
    """

    def __init__(
        self,
        app: Starlette,
        on_ready: Callable[[int], None],
        *,
        drain_timeout: float = 30.0,
        watchdog_timeout: float = 300.0,
        stop_with_engines: bool = False,
        ssl_certfile: Path | None = None,
        ssl_keyfile: Path | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=CLOSE_TIMEOUT,
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
        super().__init__(config)
        self._service: Service = app.state.service
        self._on_ready, self._stop_with_engines = on_ready, stop_with_engines
        self._drain_timeout, self._watchdog_timeout = drain_timeout, watchdog_timeout
        self._deadline: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What exists now is never freed. A full collection would stop all threads to look at it.
        gc.collect()
        gc.freeze()
        self._on_ready(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain; on a second signal, stop now.

        uvicorn's own handler would raise the signal again at the end, and kill the process.
        """
        timeout = 0.0 if self._service.draining else self._drain_timeout
        self._service.draining = True
        self._deadline = time.monotonic() + timeout

    async def on_tick(self, counter: int) -> bool:
        self._watch()
        if self._deadline is not None:
            timed_out = time.monotonic() >= self._deadline
            if timed_out:
                self._close_engines()
            self.should_exit |= timed_out or self._service.in_flight == 0
        return await super().on_tick(counter)

    def _watch(self) -> None:
        """Stop if a step of an engine takes too long, or an engine on several hosts has failed."""
        for model in self._service.served_models:
            stats = model.engine.stats()
            if self._service.failure:
                return
            if stats.stalled_seconds > self._watchdog_timeout:
                logger.error(
                    "the engine of %s has hung for %.0f seconds", model.name, stats.stalled_seconds
                )
                self._stop("hung")
            elif self._stop_with_engines and stats.failed:
                logger.error("the engine of %s has failed", model.name)
                self._stop("down")
            elif self._stop_with_engines and not stats.healthy:
                self.should_exit = True  # the leader has closed the engine

    def _stop(self, failure: Literal["down", "hung"]) -> None:
        self._service.failure, self._service.draining = failure, True
        self._deadline = time.monotonic() + HANG_TIMEOUT
        self._close_engines()

    def _close_engines(self) -> None:
        """Close the engines on other threads.

        Closing may take a while, and this thread must send the errors meanwhile, for which uvicorn
        leaves CLOSE_TIMEOUT.
        """
        for model in self._service.served_models:
            threading.Thread(target=model.engine.close, args=[HANG_TIMEOUT], daemon=True).start()


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind a socket on each address of a host, all on one port. Raises OSError if one is taken."""
    addresses = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(addresses):
        # Port 0 is any free port: the first socket chooses it for all.
        sockets.append(socket.create_server((address[0], port, *address[2:]), family=family))
        port = port or sockets[0].getsockname()[1]
    return sockets
