"""A model on two processes, over HTTP, and what happens when one of them dies or hangs."""

import signal
import time

import httpx
import pytest

from tests.jax_backend.multihost.servers import PATH, Host, Streams, group, wait_until

pytestmark = pytest.mark.lane

FAILURE_SECONDS = 10.0  # from a failure to the end of every request
EXIT_SECONDS = 20.0  # from a failure to the end of every process

BODY = {"model": "tiny-text", "prompt": "Once upon a time", "max_tokens": 12, "seed": 1}


def answer(host: Host) -> str:
    response = httpx.post(host.address + PATH, json=BODY, timeout=60)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["text"])


def test_follower_has_probes_only_and_ends_with_the_leader() -> None:
    with group() as (leader, follower):
        assert answer(leader)
        assert follower.status("/live") == follower.status("/metrics") == 200
        assert follower.status("/v1/models") == 404
        leader.process.send_signal(signal.SIGTERM)
        assert leader.process.wait(30) == 0
        assert follower.process.wait(30) == 0


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_failure_of_a_follower(sent: signal.Signals) -> None:
    """Every open request ends with an error, the leader exits, and a new group serves."""
    with group() as (leader, follower):
        before = answer(leader)
        streams = Streams()
        streams.start(leader.address, 4)
        failed = time.monotonic()
        follower.process.send_signal(sent)
        streams.join(FAILURE_SECONDS + 5)
        assert [how for how, _ in streams.ends] == ["error"] * 4
        assert max(end for _, end in streams.ends) - failed < FAILURE_SECONDS
        assert leader.status("/live") in (503, 0)
        assert leader.process.wait(EXIT_SECONDS) == 1
    with group() as (leader, _):
        assert answer(leader) == before


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_failure_of_the_leader(sent: signal.Signals) -> None:
    """The followers exit with a status, so that a supervisor starts a new group."""
    with group() as (leader, follower):
        streams = Streams()
        streams.start(leader.address, 2)
        leader.process.send_signal(sent)
        assert follower.process.wait(EXIT_SECONDS) != 0
        if sent == signal.SIGKILL:
            streams.join(5)
            assert {how for how, _ in streams.ends} <= {"disconnected", "closed without an end"}
        else:
            leader.process.kill()
            streams.join(5)
        assert len(streams.ends) == 2


def test_failure_of_an_idle_follower() -> None:
    with group() as (leader, follower):
        assert answer(leader)
        follower.process.kill()
        wait_until(lambda: leader.status("/live") != 200, FAILURE_SECONDS)
        assert leader.process.wait(EXIT_SECONDS) == 1
