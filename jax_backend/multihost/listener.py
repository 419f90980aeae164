"""The leader's socket: followers join, and every other connection is refused."""

import logging
import socket
import threading
import time

from jax_backend.multihost.frames import Connection, Json

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 5.0  # seconds for one connection


class Listener:
    """Waits for the followers of a group of `count` processes.

    build: identifies versions, settings and weights: it is the same in all processes.
    """

    def __init__(self, address: tuple[str, int], count: int, secret: str, build: str) -> None:
        """Bind the address, and no other. Raises OSError."""
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        self._socket = socket.create_server(address, family=family)
        self._count, self._secret, self._build = count, secret, build
        self._connections: dict[int, Connection] = {}
        self._changed = threading.Condition()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()[:2]
        return host, port

    def accept(self, timeout: float) -> dict[int, Connection]:
        """Wait for every follower, and stop listening. Return the connections by rank.

        Raises TimeoutError that names the missing ranks.
        """
        start = time.monotonic()
        threading.Thread(target=self._accept, name="hosts-accept", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: not self._missing, timeout)
            missing = self._missing
        self._stop()
        if missing:
            for connection in self._connections.values():
                connection.close()
            raise TimeoutError(f"hosts: ranks {missing} have not joined within {timeout:g} s")
        logger.info("%d hosts have joined after %.1f s", self._count, time.monotonic() - start)
        return self._connections

    @property
    def _missing(self) -> list[int]:
        return sorted(set(range(1, self._count)) - set(self._connections))

    def _stop(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # ends `accept` on its thread
        except OSError:
            pass  # a platform on which closing ends it
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._socket.accept()
            except OSError:
                return  # all have joined, or it is too late
            threading.Thread(target=self._admit, args=(sock, peer), daemon=True).start()

    def _admit(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        """Let a follower join, or refuse a connection and log why."""
        try:
            connection = Connection(sock, self._secret, "leader", HANDSHAKE_TIMEOUT)
            hello = connection.receive()
            with self._changed:
                reason = self._refusal(hello)
                if reason is None:
                    connection.send({"type": "welcome"})
                    self._connections[hello["rank"]] = connection
                    self._changed.notify_all()
            if reason is not None:
                connection.send({"type": "refused", "reason": reason})
                raise ConnectionError(reason)
        except OSError as error:
            logger.warning("hosts: connection of %s:%d refused: %s", *peer[:2], error)
            sock.close()

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
