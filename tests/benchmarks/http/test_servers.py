"""Servers as processes: they start, are stopped while another one is measured, and end."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.http.servers import ServerFailed, free_port, running
from benchmarks.http.workloads import warm_up

COMMAND = f"{sys.executable} -m tests.benchmarks.http.stub {{port}}"
WORKLOAD = warm_up(0, 0, 1000)


def state(pid: int) -> str:
    """Return the state of a process: S sleeps, T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for(pid: int, letters: str) -> None:
    deadline = time.monotonic() + 5
    while state(pid) not in letters:
        assert time.monotonic() < deadline, state(pid)
        time.sleep(0.01)


@pytest.fixture
def process() -> Iterator[tuple[str, int]]:
    """A server that was started before. Yields its URL and its process id."""
    port = free_port()
    with subprocess.Popen(COMMAND.format(port=port).split()) as process:
        deadline = time.monotonic() + 20
        while subprocess.run(
            [
                sys.executable,
                "-c",
                f"import socket; socket.create_connection(('127.0.0.1', {port}))",
            ],
            capture_output=True,
        ).returncode:
            assert time.monotonic() < deadline
        yield f"http://127.0.0.1:{port}/v1", process.pid
        process.kill()


def test_started_servers_are_stopped_while_idle() -> None:
    with running([("a", COMMAND), ("b", COMMAND)], {}, 60) as servers:
        [[first], [second]] = [server.pids for server in servers]
        wait_for(first, "T"), wait_for(second, "T")
        assert [server.model for server in servers] == ["stub", "stub"]
        with servers[1].resumed():
            wait_for(second, "SR")
            assert state(first) == "T"
        wait_for(second, "T")
    assert not Path(f"/proc/{first}").exists() and not Path(f"/proc/{second}").exists()


def test_given_processes_continue_at_the_end(process: tuple[str, int]) -> None:
    url, pid = process
    with running([("a", url)], {"a": (pid,)}, 1) as [server]:
        wait_for(pid, "T")
        assert not server.is_group
    wait_for(pid, "SR")


def test_server_without_known_processes_is_left_alone(process: tuple[str, int]) -> None:
    url, pid = process
    with running([("a", url)], {}, 1) as [server]:
        server.signal(signal.SIGSTOP)
        assert state(pid) in "SR"


def test_command_that_ends_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    command = f"{sys.executable} -c 'raise SystemExit(\"no weights\")' {{port}}"
    with pytest.raises(ServerFailed, match="a: ConnectError"):
        with running([("a", command)], {}, 60):
            pass
    assert "no weights" in capsys.readouterr().err


def test_missing_command_is_reported() -> None:
    with pytest.raises(ServerFailed, match="a: .*no-such-command"):
        with running([("a", "no-such-command {port}")], {}, 60):
            pass


def test_ended_process_is_reported(process: tuple[str, int]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with pytest.raises(ServerFailed, match=f"a: process {ended.pid} has ended"):
        with running([("a", process[0])], {"a": (ended.pid,)}, 1):
            pass


def test_slow_start_is_reported() -> None:
    command = f"{sys.executable} -c 'import time; time.sleep(60)' {{port}}"
    with pytest.raises(ServerFailed, match="a: ConnectError"):
        with running([("a", command)], {}, 0.1):
            pass


def test_sigterm_ends_the_servers() -> None:
    code = f"""
import time
from benchmarks.http.servers import running
with running([("a", {COMMAND!r})], {{}}, 60) as [server]:
    print(*server.pids, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        pid = int(tool.stdout.readline())
        wait_for(pid, "T")
        tool.terminate()
        assert tool.wait(20) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{pid}").exists()
