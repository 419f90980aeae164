"""Servers on several hosts, simulated by processes of this machine."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.jax_backend.multihost.ports import free_ports

PATH = "/v1/completions"
START_SECONDS = 300.0
SECRET = "a secret of the hosts"


@dataclass
class Host:
    """One process of a group, and the address of its probes."""

    process: subprocess.Popen[str]
    address: str

    def status(self, path: str) -> int:
        """Return the status of a probe, 0 if the process does not answer."""
        try:
            return httpx.get(self.address + path, timeout=2).status_code
        except httpx.TransportError:
            return 0


@contextmanager
def group(count: int = 2, *arguments: str, ready: bool = True) -> Iterator[list[Host]]:
    """Start a group of servers of the embedded model, the leader last, and stop it at the end."""
    first = free_ports(2 + count)
    coordinator, ports = f"127.0.0.1:{first}", range(first + 2, first + 2 + count)
    hosts: dict[int, Host] = {}
    for rank in reversed(range(count)):
        command = [
            *(sys.executable, "-m", "api", "--slots", "2", "--mesh", f"tp={count}"),
            *("--hosts", str(count), "--rank", str(rank), "--coordinator", coordinator),
            *("--hosts-secret", SECRET, "--port", str(ports[rank]), *arguments),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        hosts[rank] = Host(process, f"http://127.0.0.1:{ports[rank]}")
    result = [hosts[rank] for rank in range(count)]
    try:
        if ready:
            wait_until(lambda: all(host.status("/ready") == 200 for host in result), START_SECONDS)
        yield result
    finally:
        for host in result:
            host.process.kill()
            host.process.communicate()


@dataclass
class Streams:
    """Streams that run until they end. ends: how each has ended, and when."""

    ends: list[tuple[str, float]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def start(self, address: str, count: int) -> None:
        """Start streams, and wait until each has a token."""
        for seed in range(count):
            self.threads.append(threading.Thread(target=self._run, args=[address, seed]))
            self.threads[-1].start()
        for _ in range(count):
            assert self.started.acquire(timeout=60)

    def join(self, timeout: float) -> None:
        end = time.monotonic() + timeout
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self, address: str, seed: int) -> None:
        body: dict[str, Any] = {
            "model": "tiny-text",
            "prompt": "Once",
            "max_tokens": 900,
            "temperature": 2,
            "seed": seed,
            "stream": True,
        }
        how = "closed without an end"
        try:
            with httpx.stream("POST", address + PATH, json=body, timeout=60) as response:
                for line in response.iter_lines():
                    if '"choices"' in line:
                        self.started.release()
                    if '"error"' in line:
                        how = "error"
                    if "[DONE]" in line and how != "error":
                        how = "done"
        except httpx.TransportError:
            how = "disconnected"
        self.ends.append((how, time.monotonic()))


def wait_until(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
