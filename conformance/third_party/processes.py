"""A server as a process with a memory limit, which ends with the test."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

GIB = 2**30
STOP_TIMEOUT = 20.0  # seconds
START_TIMEOUT = 1800.0  # seconds: the first start may compile the model


class NotStarted(RuntimeError):
    """A server that ended, or did not listen in time. The message has the end of its log."""


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    memory: float | None = None,
    timeout: float = START_TIMEOUT,
) -> Iterator[int]:
    """Run a server, wait until it listens, and return its process id.

    memory: the limit of private memory of each process, in GiB: an allocation beyond it fails, so
    a server that needs too much ends, and not another process of the machine. Raises NotStarted.
    """
    with log.open("w") as file:
        server = subprocess.Popen(
            [*memory_limit(memory), *command],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=os.environ | (environment or {}),
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + timeout
        while not listens(port):
            if server.poll() is not None:
                raise NotStarted(f"ended with status {server.returncode}: {last_line(log)}")
            if time.monotonic() > deadline:
                raise NotStarted(f"does not listen after {timeout:.0f} s: {last_line(log)}")
            time.sleep(0.2)
        yield server.pid
    finally:
        stop(server)


def memory_limit(gib: float | None) -> list[str]:
    """Return the beginning of a command that limits private memory and becomes what follows. Files
    that are mapped, such as libraries and weights, do not count.
    """
    if gib is None:
        return []
    return ["sh", "-c", f'ulimit -d {int(gib * GIB) // 1024} && exec "$@"', "sh"]


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Stop a server and its child processes: SIGTERM, and SIGKILL after a timeout."""
    with suppress(ProcessLookupError):  # it may have ended already
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        pass
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "no output")[:300]
