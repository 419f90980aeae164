"""The leader's connections to the followers that have joined."""

import logging
import threading
from collections.abc import Callable, Mapping

from jax_backend.multihost.frames import Connection, Json

logger = logging.getLogger(__name__)

EXIT_TIMEOUT = 30.0  # seconds for all followers
PINGS_PER_TIMEOUT = 8


class Leader:
    """Sends messages to the followers, and notices when one is gone.

    connections: by rank. timeout: seconds without a sign of life after which a follower counts as
    dead.
    """

    def __init__(self, connections: Mapping[int, Connection], timeout: float) -> None:
        self._connections, self._timeout = dict(connections), timeout
        self._ready: dict[int, str] = {}  # what the followers have selected, by rank
        self._changed = threading.Condition()  # of the state of this class
        self._failure: Exception | None = None
        self._on_failure: Callable[[Exception], None] = lambda error: None
        self._ending, self._closed = threading.Event(), threading.Event()
        for rank, connection in connections.items():
            connection.establish(timeout)
            threading.Thread(
                target=self._receive, args=(rank, connection), name=f"host-{rank}", daemon=True
            ).start()
        threading.Thread(target=self._send_pings, name="hosts-ping", daemon=True).start()

    def wait_until_ready(self, selected: str, timeout: float) -> None:
        """Wait until every follower has compiled. selected: the launches that this process uses.

        Raises ConnectionError if a follower has failed or uses other launches, and TimeoutError.
        """
        ranks = set(self._connections)
        with self._changed:
            self._changed.wait_for(
                lambda: ranks <= set(self._ready) or self._failure is not None, timeout
            )
            if self._failure is not None:
                raise ConnectionError(f"hosts: {self._failure}")
            if missing := sorted(ranks - set(self._ready)):
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
        if self._failure is not None:
            raise ConnectionError(str(self._failure))
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
        self._ending.set()
        self._closed.set()
        for connection in list(self._connections.values()):
            connection.close()

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
