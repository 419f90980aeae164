"""The leader's connections to the followers."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Collection

from jax_backend.multihost.frames import Connection, Json

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 5.0  # seconds for one connection
EXIT_TIMEOUT = 30.0  # seconds for all followers
PINGS_PER_TIMEOUT = 8


class Leader:
    """Waits for the followers, sends them messages, and notices when one is gone.

    count: processes of the group. build: identifies versions, settings and weights: it is the same
    in all processes. timeout: seconds without a sign of life after which a follower counts as dead.
    """

    def __init__(
        self, address: tuple[str, int], count: int, secret: str, build: str, timeout: float
    ) -> None:
        """Bind the address, and no other. Raises OSError."""
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        self._listener = socket.create_server(address, family=family)
        self._count, self._secret, self._build, self._timeout = count, secret, build, timeout
        self._connections: dict[int, Connection] = {}
        self._ready: dict[int, str] = {}  # what the followers have selected, by rank
        self._changed = threading.Condition()  # of the two above, and of _failure
        self._failure: Exception | None = None
        self._on_failure: Callable[[Exception], None] = lambda error: None
        self._ending, self._closed = threading.Event(), threading.Event()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()[:2]
        return host, port

    def accept_followers(self, timeout: float) -> None:
        """Wait for every follower, and watch it from then on. Other connections are refused.

        Raises TimeoutError that names the missing ranks.
        """
        start = time.monotonic()
        threading.Thread(target=self._accept, name="hosts-accept", daemon=True).start()
        threading.Thread(target=self._send_pings, name="hosts-ping", daemon=True).start()
        with self._changed:
            self._changed.wait_for(
                lambda: not self._missing(self._connections) or self._has_ended, timeout
            )
            missing, failure = self._missing(self._connections), self._failure
        self._stop_listening()
        if failure is not None:
            raise ConnectionError(f"hosts: {failure}")
        if missing:
            self.close()
            raise TimeoutError(f"hosts: ranks {missing} have not joined within {timeout:g} s")
        logger.info("%d hosts have joined after %.1f s", self._count, time.monotonic() - start)

    def wait_until_ready(self, selected: str, timeout: float) -> None:
        """Wait until every follower has compiled. selected: the launches that this process uses.

        Raises ConnectionError if a follower has failed or uses other launches, and TimeoutError.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not self._missing(self._ready) or self._has_ended, timeout
            )
            if self._failure is not None:
                raise ConnectionError(f"hosts: {self._failure}")
            if missing := self._missing(self._ready):
                raise TimeoutError(f"hosts: ranks {missing} are not ready within {timeout:g} s")
        for rank, other in sorted(self._ready.items()):
            if other != selected:
                raise ConnectionError(
                    f"hosts: rank {rank} and rank 0 compute different bits: {other} and {selected}"
                )

    def on_failure(self, callback: Callable[[Exception], None]) -> None:
        """Call a function on another thread, once, when a follower is gone or has failed."""
        with self._changed:
            self._on_failure = callback
            failure = self._failure
        if failure is not None:
            callback(failure)

    def broadcast(self, message: Json) -> None:
        """Send a message to every follower. Raises ConnectionError if one is gone."""
        for rank, connection in list(self._connections.items()):
            try:
                connection.send(message)
            except OSError as error:
                raise ConnectionError(f"rank {rank} is gone: {error}") from error

    def end(self) -> None:
        """Tell every follower to exit. From now on no connection that closes is a failure."""
        self._ending.set()
        self.broadcast({"type": "end"})

    def wait_for_exit(self) -> None:
        """Wait until every follower has exited after `end`. JAX's coordination service is in this
        process: without it, a follower that exits aborts.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._connections, EXIT_TIMEOUT)
        self.close()

    def close(self) -> None:
        """Close all connections."""
        with self._changed:
            self._ending.set()
            self._closed.set()
            self._changed.notify_all()
        self._stop_listening()
        for connection in list(self._connections.values()):
            connection.close()

    @property
    def _has_ended(self) -> bool:
        return self._failure is not None or self._closed.is_set()

    def _stop_listening(self) -> None:
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # ends `accept` on its thread
        except OSError:
            pass  # closed before
        self._listener.close()

    def _missing(self, ranks: Collection[int]) -> list[int]:
        return sorted(set(range(1, self._count)) - set(ranks))

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return  # closed: all have joined
            threading.Thread(target=self._admit, args=(sock, peer), daemon=True).start()

    def _admit(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Let a follower join, or refuse a connection and log why."""
        try:
            connection = Connection(sock, self._secret, "leader", HANDSHAKE_TIMEOUT)
            hello = connection.receive()
            reason = self._refusal(hello)
            connection.send(
                {"type": "refused", "reason": reason} if reason else {"type": "welcome"}
            )
            if reason:
                raise ConnectionError(reason)
        except OSError as error:
            logger.warning("hosts: connection of %s:%d refused: %s", *peer[:2], error)
            sock.close()
            return
        connection.establish(self._timeout)
        with self._changed:
            if hello["rank"] in self._connections:
                connection.close()
                return
            self._connections[hello["rank"]] = connection
            self._changed.notify_all()
        self._receive(hello["rank"], connection)

    def _refusal(self, hello: Json) -> str | None:
        """Return why a process cannot join."""
        rank = hello.get("rank")
        if hello.get("type") != "hello" or hello.get("count") != self._count:
            return f"it is one of {hello.get('count')} hosts, and not of {self._count}"
        if not isinstance(rank, int) or not 0 < rank < self._count:
            return f"rank: must be within 1 … {self._count - 1}, got {rank!r}"
        if rank in self._connections:
            return f"rank {rank} has joined already"
        if hello.get("build") != self._build:
            return (
                f"rank {rank} has other versions, settings or weights: {hello.get('build')!r}, "
                f"and not {self._build!r}"
            )
        return None

    def _receive(self, rank: int, connection: Connection) -> None:
        """Receive the messages of a follower until it is gone."""
        try:
            while True:
                message = connection.receive()
                if message["type"] == "ready":
                    with self._changed:
                        self._ready[rank] = message["selected"]
                        self._changed.notify_all()
                elif message["type"] == "failed":
                    raise ConnectionError(message["reason"])
        except OSError as error:
            self._fail(ConnectionError(f"rank {rank} is gone: {error or 'no sign of life'}"))
        if self._ending.is_set():
            connection.close()
            with self._changed:
                del self._connections[rank]
                self._changed.notify_all()

    def _fail(self, error: Exception) -> None:
        with self._changed:
            if self._ending.is_set() or self._failure is not None:
                return
            self._failure = error
            callback = self._on_failure
            self._changed.notify_all()
        logger.error("hosts: %s", error)
        callback(error)

    def _send_pings(self) -> None:
        while not self._closed.wait(self._timeout / PINGS_PER_TIMEOUT):
            for rank, connection in list(self._connections.items()):
                try:
                    connection.send({"type": "ping"})
                except OSError as error:
                    self._fail(ConnectionError(f"rank {rank} is gone: {error}"))
