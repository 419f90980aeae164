"""Completions servers: running ones, and ones that this program starts.

A server is stopped with SIGSTOP while another one is measured, if its processes are known: threads
that wait for work may spin.
"""

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO

import httpx

from benchmarks.http.client import run_workload
from benchmarks.http.workloads import Workload

PORT = "{port}"
RETRIED = {429, 502, 503}  # statuses of a server that is not ready
SHUTDOWN_SECONDS = 30.0


class ServerFailed(Exception):
    """A server does not start, or does not answer."""


@dataclass
class Server:
    """A server. url: of the API, without `/completions`. model: the id that it serves. pids: of its
    processes, if they are known; of a process group, if `is_group`.
    """

    name: str
    url: str
    model: str = ""
    pids: tuple[int, ...] = ()
    is_group: bool = False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its processes."""
        for pid in self.pids:
            try:
                (os.killpg if self.is_group else os.kill)(pid, number)
            except ProcessLookupError:
                raise ServerFailed(f"{self.name}: process {pid} has ended") from None

    async def run(self, workload: Workload) -> None:
        """Run a workload, and raise ServerFailed unless every request is completed."""
        _, outcomes = await run_workload(self.url, self.model, workload)
        for outcome in outcomes:
            if outcome.error is not None:
                raise ServerFailed(f"{self.name}: {outcome.error}")

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Let it run within a block, and stop it afterwards."""
        self.signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.signal(signal.SIGSTOP)


async def wait_until_ready(
    server: Server, seconds: float, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Wait until the server answers, and note the id of its model. Raises ServerFailed."""
    deadline = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        while True:
            try:
                reply = await http.get("models")
                if reply.status_code == 200:
                    server.model = str(reply.json()["data"][0]["id"])
                    short = {"model": server.model, "prompt": "a", "max_tokens": 1}
                    reply = await http.post("completions", json=short)
                if reply.status_code not in RETRIED:
                    reply.raise_for_status()
                    return
                problem = f"status {reply.status_code}"
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            except (httpx.HTTPStatusError, LookupError, TypeError, ValueError) as error:
                raise ServerFailed(f"{server.name}: {type(error).__name__}: {error}") from None
            ended = process is not None and process.poll() is not None
            if ended or process is None or time.monotonic() > deadline:
                raise ServerFailed(f"{server.name}: {problem}")
            await asyncio.sleep(0.5)


@contextmanager
def running(
    specs: Sequence[tuple[str, str]], pids: Mapping[str, tuple[int, ...]], start_timeout: float
) -> Iterator[list[Server]]:
    """Start the servers that are commands, one after another, and yield all. The ones with known
    processes are stopped (SIGSTOP) then. At the end, the others continue, and the ones that were
    started are terminated.

    specs: (name, URL or command). pids: of servers that run already. Raises ServerFailed.
    """
    with ExitStack() as stack:
        stack.enter_context(exit_on_sigterm())
        servers = []
        for name, source in specs:
            if source.startswith(("http://", "https://")):
                server = Server(name, source, pids=pids.get(name, ()))
                asyncio.run(wait_until_ready(server, start_timeout))
                stack.callback(server.signal, signal.SIGCONT)
            else:
                server = stack.enter_context(started(name, source, start_timeout))
            server.signal(signal.SIGSTOP)
            servers.append(server)
        yield servers


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise SystemExit within a block, so that no stopped server is left behind."""

    def exit(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def started(name: str, command: str, start_timeout: float) -> Iterator[Server]:
    """Start a server in a process group of its own, wait until it is ready, and terminate it at the
    end. command: `{port}` is replaced.
    """
    port = free_port()
    words = [word.replace(PORT, str(port)) for word in shlex.split(command)]
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        except OSError as error:
            raise ServerFailed(f"{name}: {error}") from None
        server = Server(name, f"http://127.0.0.1:{port}/v1", pids=(process.pid,), is_group=True)
        try:
            asyncio.run(wait_until_ready(server, start_timeout, process))
            yield server
        except ServerFailed:
            print(tail(log), file=sys.stderr)
            raise
        finally:
            terminate(process)


def terminate(process: subprocess.Popen[bytes]) -> None:
    """End a process group: by SIGTERM, after a while by SIGKILL."""
    for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        if number != signal.SIGCONT:
            try:
                process.wait(SHUTDOWN_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    process.wait()


def tail(log: IO[bytes], size: int = 2000) -> str:
    """Return the end of a log."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - size))
    return log.read().decode(errors="replace")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
