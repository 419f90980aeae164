"""Failures of the machine around a server that runs as a process."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from reference.bundle import EMBEDDED
from tests.api.conftest import wait_until
from tests.api.http_client import PATH

pytestmark = pytest.mark.lane

BODY = {"prompt": "Once upon a time", "max_tokens": 8, "seed": 1}


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


@contextmanager
def serving(
    *arguments: str, shell_prefix: str = "", **environment: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server, and yield its process and its address once it answers. shell_prefix: commands
    of a shell that becomes the server.
    """
    port = free_port() if "--port" not in arguments else arguments[-1]
    command = [sys.executable, "-m", "api", "--slots", "2", *arguments]
    command += [] if "--port" in arguments else ["--port", port]
    if shell_prefix:
        command = ["bash", "-c", shell_prefix + ' exec "$@"', "bash", *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=os.environ | environment,
    ) as process:
        try:
            assert process.stdout is not None
            assert "serving" in process.stdout.readline()
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def answer(address: str, model: str = "tiny-text") -> str:
    response = httpx.post(address + PATH, json=BODY | {"model": model}, timeout=60)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["text"])


def test_killed_server_starts_again_on_its_port_with_the_same_answers(tmp_path: Path) -> None:
    """SIGKILL under load: clients see a closed connection, and what is cached stays usable."""
    port, cache = free_port(), {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    errors: list[Exception] = []

    def load(address: str) -> None:
        body = BODY | {"model": "tiny-text", "max_tokens": 900, "n": 2, "temperature": 2}
        try:
            httpx.post(address + PATH, json=body, timeout=60)
        except httpx.TransportError as error:
            errors.append(error)

    with serving("--port", port, **cache) as (process, address):
        before = answer(address)
        threads = [threading.Thread(target=load, args=[address]) for _ in range(4)]
        for thread in threads:
            thread.start()
        running = "completions_requests_running"
        wait_until(
            lambda: any(
                line.startswith(running) and not line.endswith(" 0.0")
                for line in httpx.get(address + "/metrics").text.splitlines()
            ),
            20,
        )
        process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert len(errors) == 4
    with serving("--port", port, **cache) as (_, address):
        assert answer(address) == before


@pytest.mark.parametrize("fault", ["full disk", "not a folder"])
def test_compilation_cache_that_cannot_be_written(fault: str, tmp_path: Path) -> None:
    """The server starts without the cache, and says why."""
    folder, limit = tmp_path / "cache", ""
    if fault == "not a folder":
        folder.write_text("")
    else:
        limit = "ulimit -f 1;"  # KiB
    with serving(shell_prefix=limit, JAX_COMPILATION_CACHE_DIR=str(folder)) as (process, address):
        assert answer(address)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert "the compilation cache is not used" in errors
    assert "Traceback" not in errors and process.returncode == 0


@pytest.mark.parametrize("backend", ["reference", "jax"])
def test_model_directory_that_disappears(backend: str, tmp_path: Path) -> None:
    """A loaded model does not need its files. A new start names the missing folder."""
    directory = tmp_path / "model"
    shutil.copytree(EMBEDDED / "text", directory)
    arguments = ["--backend", backend, "--model", str(directory)]
    with serving(*arguments) as (_, address):
        before = answer(address, "model")
        shutil.rmtree(directory)
        assert answer(address, "model") == before
    command: list[Any] = [sys.executable, "-m", "api", *arguments, "--port", "0"]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert failed.returncode == 2 and str(directory) in failed.stderr
    assert failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1


def test_device_that_hangs_stops_the_process(tmp_path: Path) -> None:
    """A step that does not return: the request ends with an error, the process with status 1."""
    program = tmp_path / "hang.py"
    program.write_text(
        "import sys, time\n"
        "from api.__main__ import main\n"
        "from jax_backend.serving.outputs import OutputProcessor\n"
        "OutputProcessor.process = lambda self, step: time.sleep(600)\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, str(program), "--port", "0", "--slots", "1"]
    command += ["--watchdog-timeout", "2"]
    pipe = subprocess.PIPE
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        [url] = [word for word in words if word.startswith("http")]
        response = httpx.post(url, json=BODY | {"model": "tiny-text"}, timeout=60)
        _, errors = process.communicate(timeout=60)
    assert response.status_code == 503 and response.json()["error"]["code"] == "engine_down"
    assert process.returncode == 1 and "has hung" in errors
