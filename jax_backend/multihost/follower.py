"""A follower's connection to the leader."""

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable

from jax_backend.multihost.frames import Connection, Json
from jax_backend.multihost.settings import Group, Hosts

logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 5.0  # seconds for one attempt
RETRY_PAUSE = 0.2  # seconds between attempts


class Refused(ConnectionError):
    """The leader does not let this process join."""


class Follower:
    """Receives the leader's messages, and notices when it is gone. build: see `Listener`."""

    def __init__(self, group: Group, hosts: Hosts, build: str) -> None:
        """Join, and retry until the leader listens. Raises Refused, or TimeoutError."""
        self._messages: queue.SimpleQueue[Json | Exception] = queue.SimpleQueue()
        self._on_failure: Callable[[Exception], None] = lambda error: None
        self._closed = False
        hello = {"type": "hello", "rank": group.rank, "count": group.count, "build": build}
        self._connection = connect(group.address, hosts.secret, hello, hosts.join_timeout)
        self._connection.establish(hosts.join_timeout)
        self._timeout = hosts.heartbeat_timeout
        threading.Thread(target=self._receive, name="hosts-leader", daemon=True).start()

    def on_failure(self, callback: Callable[[Exception], None]) -> None:
        """Call a function on another thread when the leader is gone. `receive` raises then."""
        self._on_failure = callback

    def receive(self) -> Json:
        """Wait for the next message that is not a ping. Raises ConnectionError if the leader is
        gone.
        """
        message = self._messages.get()
        if isinstance(message, Exception):
            self._messages.put(message)
            raise message
        return message

    def ready(self, selected: str) -> None:
        """Say that this process has compiled. selected: the launches that it uses."""
        self._connection.send({"type": "ready", "selected": selected})

    def fail(self, error: Exception) -> None:
        """Tell the leader why this process stops, if the leader is still there."""
        try:
            self._connection.send({"type": "failed", "reason": str(error)})
        except OSError:
            pass

    def leave(self) -> None:
        """Leave the group, unless the leader has ended it: then the connection stays until this
        process exits, which the leader waits for.
        """
        if not self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        self._connection.close()

    def _receive(self) -> None:
        try:
            while True:
                message = self._connection.receive()
                self._connection.establish(self._timeout)  # the leader pings from now on
                if message["type"] == "ping":
                    self._connection.send({"type": "pong"})
                    continue
                self._closed |= message["type"] == "end"
                self._messages.put(message)
        except OSError as error:
            failure = ConnectionError(f"the leader is gone: {error or 'no sign of life'}")
            self._messages.put(failure)
            if not self._closed:
                logger.error("hosts: %s", failure)
                self._on_failure(failure)


def connect(address: tuple[str, int], secret: str, hello: Json, timeout: float) -> Connection:
    """Connect to the leader and say hello. Raises Refused, or TimeoutError."""
    end, error = time.monotonic() + timeout, Exception()
    while time.monotonic() < end:
        try:
            sock = socket.create_connection(address, HANDSHAKE_TIMEOUT)
        except OSError as failure:
            error = failure
            time.sleep(RETRY_PAUSE)
            continue
        try:
            connection = Connection(sock, secret, "follower", HANDSHAKE_TIMEOUT)
            connection.send(hello)
            answer = connection.receive()
        except OSError as failure:
            sock.close()
            raise Refused(f"hosts: the leader has refused the connection: {failure}") from failure
        if answer["type"] != "welcome":
            connection.close()
            raise Refused(f"hosts: the leader has refused the connection: {answer.get('reason')}")
        return connection
    raise TimeoutError(f"hosts: no leader at {address[0]}:{address[1]}: {error}")
