"""Leader and followers on loopback, without devices."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from jax_backend.multihost import leader as leader_module
from jax_backend.multihost.follower import Follower, Refused
from jax_backend.multihost.frames import Connection, FrameError
from jax_backend.multihost.leader import Leader
from jax_backend.multihost.listener import Listener
from jax_backend.multihost.settings import Group, Hosts
from jax_backend.multihost.turns import Diverged, FollowerTurns, LeaderTurns
from jax_backend.serving.changes import Abort, Admit, End, Prepare
from jax_backend.serving.scheduling.plan import StepPlan
from reference.grammar.response_format import compile_format
from reference.params import CompletionParams
from reference.request import Request

BUILD = "build"


def hosts(**values: Any) -> Hosts:
    return Hosts(**{"secret": "s", "join_timeout": 5.0, "heartbeat_timeout": 1.0, **values})


class Links:
    """A leader that accepts followers, and those that have joined."""

    def __init__(self, count: int, timeout: float = 1.0) -> None:
        self.count = count
        self.listener = Listener(("127.0.0.1", 0), count, "s", BUILD)
        self.address, self.timeout = self.listener.address, timeout
        self.joined: Leader | None = None
        self.followers: list[Follower] = []
        self.accepted = threading.Thread(target=self._accept)
        self.accepted.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed before all have joined
            self.joined = Leader(self.listener.accept(1.0), self.timeout)

    @property
    def leader(self) -> Leader:
        self.accepted.join()
        assert self.joined is not None
        return self.joined

    def join(
        self, rank: int, count: int | None = None, build: str = BUILD, **values: Any
    ) -> Follower:
        group = Group(rank, self.count if count is None else count, self.address)
        follower = Follower(group, hosts(**values), build)
        self.followers.append(follower)
        return follower

    def join_all(self) -> list[Follower]:
        for rank in range(self.count - 1, 0, -1):
            self.join(rank)
        self.accepted.join()
        return self.followers[::-1]

    def close(self) -> None:
        for follower in self.followers:
            follower.close()
        self.accepted.join()
        if self.joined is not None:
            self.joined.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def links(stack: ExitStack, count: int = 2, timeout: float = 1.0) -> Links:
    result = Links(count, timeout)
    stack.callback(result.close)
    return result


def request(**params: Any) -> Request:
    compiled = compile_format(params.get("response_format"))
    return Request.of([1, 2], CompletionParams(seed=3, **params), language=compiled)


def test_followers_take_the_leaders_turns(stack: ExitStack) -> None:
    group = links(stack, 3)
    turns = [FollowerTurns(follower, compile_format) for follower in group.join_all()]
    own = LeaderTurns(group.leader)
    format = {"type": "json_object"}
    changes = [
        Prepare(0, request(response_format=format)),
        Admit(1, request(), lambda event: None),
        Admit(0, request(response_format=format), lambda event: None),
        Abort(1, 0),
    ]
    for change in changes:
        own.put(change)
    assert own.take(True, None) == changes
    plan = StepPlan(num_segments=1)
    own.put(End())
    own.take(True, plan)
    for follower in turns:
        prepared, admitted, constrained, abort = follower.take(True, None)
        assert isinstance(prepared, Prepare) and prepared.request.language is not None
        assert isinstance(admitted, Admit) and admitted.request == changes[1].request
        assert isinstance(constrained, Admit) and constrained.request_id == 0
        assert abort == Abort(1, 0)
        (end,) = follower.take(False, plan)
        assert isinstance(end, End)


def test_other_plan_ends_the_group(stack: ExitStack) -> None:
    group = links(stack)
    follower = FollowerTurns(group.join_all()[0], compile_format)
    failures: list[Exception] = []
    group.leader.on_failure(failures.append)
    own = LeaderTurns(group.leader)
    own.take(False, StepPlan(num_segments=1))
    with pytest.raises(Diverged, match="turn 0"):
        follower.take(False, StepPlan(num_segments=2))
    wait_until(lambda: bool(failures))
    assert "the plan differs" in str(failures[0])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rank": 2}, "rank: must be within 1 … 1, got 2"),
        ({"rank": 0}, "got 0"),
        ({"rank": 1, "count": 3}, "one of 3 hosts"),
        ({"rank": 1, "build": "other"}, "other versions, settings or weights"),
        ({"rank": 1, "secret": "t"}, "refused"),
    ],
)
def test_refused_process(
    values: dict[str, Any],
    reason: str,
    stack: ExitStack,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The group waits on, and the right process can still join."""
    group = links(stack)
    with pytest.raises(Refused, match=reason):
        group.join(**values)
    wait_until(lambda: "refused" in caplog.text)
    group.join_all()


def test_rank_that_has_joined_is_refused(stack: ExitStack) -> None:
    group = links(stack, 3)
    group.join(1)
    with pytest.raises(Refused, match="rank 1 has joined already"):
        group.join(1)


def test_foreign_connections_do_not_disturb(stack: ExitStack) -> None:
    group = links(stack)
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"", bytes(5000), b"\xff" * 5000):
        with socket.create_connection(group.address) as sock:
            sock.sendall(data)
    silent = stack.enter_context(socket.create_connection(group.address))
    group.join_all()
    assert silent.fileno() != -1


def test_connection_after_the_start_is_refused(stack: ExitStack) -> None:
    group = links(stack)
    group.join_all()
    with pytest.raises(OSError):
        socket.create_connection(group.address, 1)


def test_missing_follower_is_named(stack: ExitStack) -> None:
    own = Listener(("127.0.0.1", 0), 3, "s", BUILD)
    with pytest.raises(TimeoutError, match=r"ranks \[1, 2\] have not joined within 0.1 s"):
        own.accept(0.1)


def test_missing_leader() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()[:2]
    with pytest.raises(TimeoutError, match="no leader at"):
        Follower(Group(1, 2, address), hosts(join_timeout=0.3), BUILD)


def test_followers_that_select_other_launches(stack: ExitStack) -> None:
    group = links(stack)
    group.join_all()[0].ready("(1, 2)")
    with pytest.raises(ConnectionError, match="rank 1 and rank 0 compute different bits"):
        group.leader.wait_until_ready("(1, 2, 4)", 5)


def test_ready_group(stack: ExitStack) -> None:
    group = links(stack, 3)
    for follower in group.join_all():
        follower.ready("x")
    group.leader.wait_until_ready("x", 5)


def test_follower_that_is_not_ready(stack: ExitStack) -> None:
    group = links(stack, timeout=60)
    group.join_all()
    with pytest.raises(TimeoutError, match=r"ranks \[1\] are not ready"):
        group.leader.wait_until_ready("x", 0.1)


def test_dead_follower_is_noticed(stack: ExitStack) -> None:
    group = links(stack, 3)
    failures: list[Exception] = []
    followers = group.join_all()
    group.leader.on_failure(failures.append)
    followers[0].close()
    wait_until(lambda: bool(failures))
    time.sleep(0.3)
    assert len(failures) == 1 and "rank 1 is gone" in str(failures[0])
    with pytest.raises(ConnectionError):
        for _ in range(100):
            group.leader.broadcast({"type": "turn"})
            time.sleep(0.01)


def test_silent_follower_is_noticed(stack: ExitStack) -> None:
    """It is connected, and answers no ping."""
    group = links(stack, timeout=0.5)
    sock = stack.enter_context(socket.create_connection(group.address))
    connection = Connection(sock, "s", "follower", 5)
    connection.send({"type": "hello", "rank": 1, "count": 2, "build": BUILD})
    assert connection.receive() == {"type": "welcome"}
    group.accepted.join()
    failures: list[Exception] = []
    group.leader.on_failure(failures.append)
    wait_until(lambda: bool(failures))
    assert "rank 1 is gone" in str(failures[0])


def test_dead_leader_is_noticed(stack: ExitStack) -> None:
    group = links(stack)
    (follower,) = group.join_all()
    failures: list[Exception] = []
    follower.on_failure(failures.append)
    turns = FollowerTurns(follower, compile_format)
    group.leader.close()
    with pytest.raises(ConnectionError, match="the leader is gone"):
        turns.take(True, None)
    wait_until(lambda: bool(failures))


def test_silent_leader_is_noticed(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader_module, "PINGS_PER_TIMEOUT", 1e-3)
    group = links(stack, timeout=60)
    (follower,) = group.join_all()
    failures: list[Exception] = []
    follower.on_failure(failures.append)
    wait_until(lambda: bool(failures))
    assert "no sign of life" in str(failures[0]) or "timed out" in str(failures[0])


def test_idle_group_stays_together(stack: ExitStack) -> None:
    group = links(stack, timeout=0.4)
    (follower,) = group.join_all()
    follower.on_failure(lambda error: pytest.fail(str(error)))
    failures: list[Exception] = []
    group.leader.on_failure(failures.append)
    time.sleep(1.5)
    group.leader.broadcast({"type": "turn", "changes": []})
    assert follower.receive()["type"] == "turn" and not failures


def test_closed_follower_has_no_failure(stack: ExitStack) -> None:
    group = links(stack)
    (follower,) = group.join_all()
    failures: list[Exception] = []
    follower.on_failure(failures.append)
    follower.close()
    time.sleep(0.2)
    assert not failures


def test_frame_error_is_a_connection_error() -> None:
    assert issubclass(FrameError, ConnectionError)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 2}, "--rank and --coordinator"),
        ({"count": 2, "rank": 2, "coordinator": "a:1"}, "rank: must be within 0 … 1, got 2"),
        ({"count": 2, "rank": 0, "coordinator": "a"}, "HOST:PORT, got 'a'"),
        ({"count": 2, "rank": 0, "coordinator": "a:0"}, "HOST:PORT"),
        ({"secret": ""}, "--hosts-secret"),
    ],
)
def test_wrong_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hosts(**values)


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
