"""A server as a process, its memory and its metrics."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families


class ServerProcess:
    """A running server. address: http://host:port."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address

    def resident_bytes(self) -> int:
        """Return the resident memory of the process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        [size] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
        return int(size) * 1024

    def metrics(self) -> dict[str, float]:
        """Return the sum of each sample over its labels, by name without the prefix."""
        text = httpx.get(self.address + "/metrics", timeout=30).text
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("completions_")
                values[name] = values.get(name, 0.0) + sample.value
        return values


@contextmanager
def serving(*arguments: str) -> Iterator[ServerProcess]:
    """Start `python -m api` on a free port, and stop it at the end."""
    command = [sys.executable, "-m", "api", "--port", "0", "--log-level", "error", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            [url] = [word for word in words if word.startswith("http")]
            yield ServerProcess(process, url.removesuffix("/v1/openai/completions"))
        finally:
            process.terminate()
