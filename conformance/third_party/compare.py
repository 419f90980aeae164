"""Checks our servers and third-party servers on one checkpoint, one after another:

python -m conformance.third_party.compare CHECKPOINT OUT [--venvs DIR] [--only NAME …]

OUT gets NAME.json and NAME.log of each server, and a page that compares all runs in OUT.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KEY = "a-key-that-is-not-secret"
PORT = 8360
STOP_TIMEOUT = 20  # seconds
START_TIMEOUT = 1800  # seconds: the first start may compile the server


@dataclass(frozen=True)
class Server:
    """The command that starts a server.

    script: in this folder; None for our own servers. key: its option for an API key, None if it has
    none. options: further options. skip: checks that would make it hang or crash.
    """

    script: str | None = None
    key: str | None = "--api-key"
    options: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    def command(self, name: str, checkpoint: Path, port: int, venvs: Path) -> list[str]:
        key = [self.key, KEY] if self.key else []
        if self.script:
            start = [HERE / self.script, checkpoint, port, venvs / self.script.removesuffix(".sh")]
        else:
            start = [sys.executable, "-m", "api", "--backend", name, "--model", checkpoint]
            start += ["--served-model-name", checkpoint.name, "--port", port]
        return [str(part) for part in [*start, *key, *self.options]]


SERVERS: dict[str, Server] = {
    "reference": Server(),
    "jax": Server(),
    "vllm": Server("vllm.sh"),
    "llama-cpp": Server("llama_cpp.sh", "--api_key", ("--interrupt_requests", "false")),
    # It prefills prompts beyond its context, of any length, and answers no other request meanwhile.
    "transformers": Server("transformers_serve.sh", None, skip=("prompt/overlong-text-*",)),
    # A list of prompts ends its request thread.
    "mlx-lm": Server("mlx_lm.sh", None, skip=("*/*list*",)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    out, checkpoint = options.out.resolve(), options.checkpoint.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in options.only or SERVERS:
        server, port = SERVERS[name], PORT + list(SERVERS).index(name)
        command = server.command(name, checkpoint, port, options.venvs.resolve())
        with running(command, port, out / f"{name}.log"):
            run_checks(name, server, checkpoint, port, out)
    runs = [path for name in SERVERS if (path := out / f"{name}.json").exists()]
    pages = ["--report", str(out / "servers.html"), "--markdown", str(out / "servers.md")]
    return conformance("compare", *map(str, runs), *pages)


def run_checks(name: str, server: Server, checkpoint: Path, port: int, out: Path) -> None:
    """Check a running server against the specification."""
    skip = [part for glob in server.skip for part in ("--skip", glob)]
    key = ["--api-key", KEY] if server.key else []
    truth = ["--truth", str(checkpoint), "--name", name, "--timeout", "60"]
    output = ["--json", str(out / f"{name}.json")]
    url = f"http://127.0.0.1:{port}/v1"
    conformance("run", url, "--model", checkpoint.name, *truth, *key, *skip, *output)


def conformance(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "conformance", *arguments]).returncode


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server and wait until it listens. Raises RuntimeError if it ends before that."""
    with log.open("w") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not listens(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not listen, see {log}")
            time.sleep(1)
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have ended already
            os.killpg(server.pid, signal.SIGTERM)
            wait_or_kill(server)


def wait_or_kill(server: "subprocess.Popen[bytes]") -> None:
    """Wait for a server that got SIGTERM, and kill it after a timeout."""
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conformance.third_party.compare")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--venvs", type=Path, default=Path(".venv-servers"))
    parser.add_argument("--only", action="append", choices=list(SERVERS), help="repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
