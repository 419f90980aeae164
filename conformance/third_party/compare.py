"""Servers, ours and others', on one checkpoint, held against the specification one after another:

python -m conformance.third_party.compare CHECKPOINT OUT [--venvs DIR] [--only NAME …]

OUT gets a RUN.json and a log for each, and a page in which all that are there stand side by side.
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
KEY = "a-key-that-is-no-secret"
PORT = 8360
GRACE = 20  # seconds for a server to stop
PATIENCE = 1800  # seconds: the first start of a server may compile it


@dataclass(frozen=True)
class Server:
    """script: beside this file; none for ours. key: how it is told a key, if it knows any. options:
    of the server. skip: checks that it does not survive.
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
    # It reads on past its context, for as long as a text is, and answers nobody meanwhile.
    "transformers": Server("transformers_serve.sh", None, skip=("prompt/too-long-a-text-*",)),
    # A list of prompts ends the thread that answers.
    "mlx-lm": Server("mlx_lm.sh", None, skip=("*/*list*",)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    out, checkpoint = options.out.resolve(), options.checkpoint.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in options.only or SERVERS:
        server, port = SERVERS[name], PORT + list(SERVERS).index(name)
        command = server.command(name, checkpoint, port, options.venvs.resolve())
        with running(command, port, out / f"{name}.log"):
            held(name, server, checkpoint, port, out)
    runs = [path for name in SERVERS if (path := out / f"{name}.json").exists()]
    pages = ["--report", str(out / "servers.html"), "--markdown", str(out / "servers.md")]
    return conformance("compare", *map(str, runs), *pages)


def held(name: str, server: Server, checkpoint: Path, port: int, out: Path) -> None:
    """Hold a server that is running against the specification."""
    skip = [part for glob in server.skip for part in ("--skip", glob)]
    key = ["--api-key", KEY] if server.key else []
    truth = ["--truth", str(checkpoint), "--name", name, "--timeout", "60"]
    to = ["--json", str(out / f"{name}.json")]
    url = f"http://127.0.0.1:{port}/v1"
    conformance("run", url, "--model", checkpoint.name, *truth, *key, *skip, *to)


def conformance(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "conformance", *arguments]).returncode


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """A server, from when it listens to the end of the block. Raises RuntimeError if it ends before
    that.
    """
    with log.open("w") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not listens(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not listen: see {log}")
            time.sleep(1)
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(server.pid, signal.SIGTERM)
            end(server)


def end(server: "subprocess.Popen[bytes]") -> None:
    """Wait for a server that was told to stop, but not for ever."""
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m conformance.third_party.compare")
    result.add_argument("checkpoint", type=Path)
    result.add_argument("out", type=Path)
    result.add_argument("--venvs", type=Path, default=Path(".venv-servers"))
    result.add_argument("--only", action="append", choices=list(SERVERS), help="repeatable")
    return result


if __name__ == "__main__":
    sys.exit(main())
