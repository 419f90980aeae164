"""Authenticated messages on a connection between two processes that share a secret.

A frame is the length of its payload (4 bytes, big-endian), an HMAC-SHA256 (RFC 2104) and the
payload, a JSON object. Both sides begin with a greeting, MAGIC and a nonce. The key of the HMAC is
derived from the secret and both nonces, and the HMAC covers the sender's role and a counter: a
frame that is changed, repeated, reordered, or from another connection is not accepted. Messages are
data: no object of the sender's choice is built from one.
"""

import hmac
import json
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Literal

Json = dict[str, Any]
Role = Literal["leader", "follower"]

MAGIC = b"completions-spec hosts 1\n"
NONCE_BYTES, MAC_BYTES = 32, 32
LENGTH = struct.Struct(">I")
MAX_BYTES = 2**28  # of a payload: a request with the pixels of many images
MAX_GREETING_BYTES = 2**16  # of the first payload
PEER: dict[Role, Role] = {"leader": "follower", "follower": "leader"}


class FrameError(ConnectionError):
    """The other side does not know the secret, or has broken the protocol."""


class FrameCodec:
    """Seals and opens the frames of one connection. role: of this side."""

    def __init__(self, key: bytes, role: Role) -> None:
        self._key, self._role = key, role
        self._num_sent = self._num_received = 0
        self.max_bytes = MAX_GREETING_BYTES

    def seal(self, message: Json) -> bytes:
        """Return the next frame."""
        payload = json.dumps(message, separators=(",", ":")).encode()
        mac = self._mac(self._role, self._num_sent, payload)
        self._num_sent += 1
        return LENGTH.pack(len(payload)) + mac + payload

    def open(self, read: Callable[[int], bytes]) -> Json:
        """Read the next frame. read: returns that many bytes. Raises FrameError."""
        (length,) = LENGTH.unpack(read(LENGTH.size))
        if length > self.max_bytes:
            raise FrameError(f"a frame of {length} bytes is too long")
        mac, payload = read(MAC_BYTES), read(length)
        if not hmac.compare_digest(mac, self._mac(PEER[self._role], self._num_received, payload)):
            raise FrameError("a frame is not authentic: do all processes have the same secret?")
        self._num_received += 1
        try:
            message = json.loads(payload)
        except ValueError as error:
            raise FrameError(f"a frame is not JSON: {error}") from error
        if not isinstance(message, dict):
            raise FrameError("a frame is not a JSON object")
        return message

    def _mac(self, sender: Role, number: int, payload: bytes) -> bytes:
        header = f"{sender} {number} {len(payload)}\n".encode()
        return hmac.digest(self._key, header + payload, "sha256")


class Connection:
    """A socket with authenticated messages. Any thread may `send`, and one thread may `receive`.

    timeout: seconds in which each message must have been sent or received.
    """

    def __init__(self, sock: socket.socket, secret: str, role: Role, timeout: float) -> None:
        """Exchange greetings. Raises FrameError, OSError or TimeoutError."""
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self._send_lock = sock, threading.Lock()
        own = secrets.token_bytes(NONCE_BYTES)
        sock.sendall(MAGIC + own)
        greeting = self._read(len(MAGIC) + NONCE_BYTES)
        if not greeting.startswith(MAGIC):
            raise FrameError("the greeting is that of another protocol or version")
        other = greeting[len(MAGIC) :]
        if other == own:
            raise FrameError("the greeting is a reflection")
        nonces = own + other if role == "leader" else other + own
        self._codec = FrameCodec(hmac.digest(secret.encode(), MAGIC + nonces, "sha256"), role)

    def establish(self, timeout: float) -> None:
        """Allow messages of MAX_BYTES, and set the timeout: the other side has proved that it has
        the secret.
        """
        self._codec.max_bytes = MAX_BYTES
        self.socket.settimeout(timeout)

    def send(self, message: Json) -> None:
        """Send a message. Raises OSError or TimeoutError."""
        with self._send_lock:
            self.socket.sendall(self._codec.seal(message))

    def receive(self) -> Json:
        """Wait for a message. Raises FrameError, OSError or TimeoutError."""
        return self._codec.open(self._read)

    def close(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side has closed it
        self.socket.close()

    def _read(self, count: int) -> bytes:
        """Read exactly `count` bytes. Raises FrameError if the connection ends."""
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(min(count - len(data), 2**20))
            if not part:
                raise FrameError("the connection was closed")
            data += part
        return bytes(data)
