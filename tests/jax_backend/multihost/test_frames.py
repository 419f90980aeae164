"""Frames: authentic ones arrive; changed, repeated and foreign ones do not."""

import random
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_backend.multihost import frames
from jax_backend.multihost.frames import Connection, FrameCodec, FrameError

KEY = b"key"


def reader(data: bytes) -> Any:
    """Return a function that reads from bytes, and raises FrameError at their end."""
    rest = bytearray(data)

    def read(count: int) -> bytes:
        if len(rest) < count:
            raise FrameError("the connection was closed")
        part = bytes(rest[:count])
        del rest[:count]
        return part

    return read


def leader() -> FrameCodec:
    return FrameCodec(KEY, "leader")


def follower() -> FrameCodec:
    return FrameCodec(KEY, "follower")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x, max_size=3)
)


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4))
def test_messages_arrive_in_order(messages: list[dict[str, Any]]) -> None:
    sender, receiver = leader(), follower()
    read = reader(b"".join(sender.seal(message) for message in messages))
    assert [receiver.open(read) for _ in messages] == messages


def test_ten_thousand_changed_frames_are_refused() -> None:
    """Bytes are changed, inserted, removed and appended, and frames are exchanged."""
    rng = random.Random(0)
    sender = leader()
    sealed = [sender.seal({"type": "turn", "number": i, "changes": []}) for i in range(20)]
    for _ in range(10_000):
        number = rng.randrange(len(sealed))
        data = bytearray(sealed[number])
        kind = rng.randrange(5)
        if kind == 0:
            i = rng.randrange(len(data))
            data[i] ^= rng.randrange(1, 256)
        elif kind == 1:
            data.insert(rng.randrange(len(data)), rng.randrange(256))
        elif kind == 2:
            del data[rng.randrange(len(data))]
        elif kind == 3:
            data = bytearray(rng.randbytes(rng.randrange(200)))
        else:
            data = bytearray(sealed[(number + 1 + rng.randrange(len(sealed) - 1)) % len(sealed)])
        receiver = follower()
        read = reader(b"".join(sealed[:number]))
        for _ in range(number):
            receiver.open(read)
        if bytes(data).startswith(sealed[number]):
            continue  # an insertion of an equal byte at the end
        with pytest.raises(FrameError):
            receiver.open(reader(bytes(data)))


def test_repeated_frame_is_refused() -> None:
    frame, receiver = leader().seal({}), follower()
    assert receiver.open(reader(frame)) == {}
    with pytest.raises(FrameError, match="authentic"):
        receiver.open(reader(frame))


def test_reflected_frame_is_refused() -> None:
    with pytest.raises(FrameError, match="authentic"):
        leader().open(reader(leader().seal({})))


def test_frame_of_another_key_is_refused() -> None:
    with pytest.raises(FrameError, match="secret"):
        follower().open(reader(FrameCodec(b"other", "leader").seal({})))


def test_long_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameError, match="too long"):
        follower().open(reader(frames.LENGTH.pack(frames.MAX_GREETING_BYTES + 1)))


@pytest.mark.parametrize("payload", [b"[1]", b"\xff", b"{", b"1"])
def test_authentic_frame_that_is_no_object(payload: bytes) -> None:
    mac = leader()._mac("leader", 0, payload)
    with pytest.raises(FrameError, match="JSON"):
        follower().open(reader(frames.LENGTH.pack(len(payload)) + mac + payload))


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with one, other:
        yield one, other


def connected(
    sockets: tuple[socket.socket, socket.socket], secrets: tuple[str, str]
) -> tuple[Connection, Connection]:
    """Connect a leader and a follower."""
    result: list[Connection] = []
    thread = threading.Thread(
        target=lambda: result.append(Connection(sockets[0], secrets[0], "leader", 5))
    )
    thread.start()
    other = Connection(sockets[1], secrets[1], "follower", 5)
    thread.join()
    return result[0], other


def test_connection_carries_messages(sockets: tuple[socket.socket, socket.socket]) -> None:
    one, other = connected(sockets, ("s", "s"))
    one.send({"a": 1})
    other.send({"b": [2]})
    assert (one.receive(), other.receive()) == ({"b": [2]}, {"a": 1})


def test_connection_with_another_secret(sockets: tuple[socket.socket, socket.socket]) -> None:
    one, other = connected(sockets, ("s", "t"))
    one.send({})
    with pytest.raises(FrameError, match="secret"):
        other.receive()


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\n" + b"x" * 60, b"completions-spec hosts 2"]
)
def test_connection_of_another_protocol(
    greeting: bytes, sockets: tuple[socket.socket, socket.socket]
) -> None:
    sockets[0].sendall(greeting)
    sockets[0].shutdown(socket.SHUT_WR)
    with pytest.raises(FrameError):
        Connection(sockets[1], "s", "leader", 5)


def test_silent_connection_times_out(sockets: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        Connection(sockets[1], "s", "leader", 0.05)
