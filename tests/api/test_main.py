"""The command line: what it refuses, and that its options reach the app."""

import json
import shlex
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api import __main__ as command_line
from api.arguments import check_bind, keys_of, parser
from tests.api.sending import post
from tests.api.toy import toy

Run = Callable[..., int]
main = command_line.main


class Recorder:
    """In the place of the server: it keeps the app, and ends at once."""

    app: Starlette
    port: int

    def __init__(self, app: Starlette, ready: Callable[[int], None]) -> None:
        Recorder.app = app
        self.ready = ready

    def run(self, sockets: list[socket.socket]) -> None:
        Recorder.port = sockets[0].getsockname()[1]
        self.ready(Recorder.port)
        for one in sockets:
            one.close()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "HOST", "PORT", "API_KEYS":
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TestClient]]:
    """The app that these arguments lead to, around a toy that goes on when the command is done."""
    served = toy()
    close = served.engine.close
    monkeypatch.setattr(served.engine, "close", lambda: None)
    monkeypatch.setitem(command_line.BACKENDS, "reference", lambda options: served)
    monkeypatch.setattr(command_line, "Server", Recorder)

    def client(*arguments: str) -> TestClient:
        assert main(["--backend", "reference", "--port", "0", *arguments]) == 0
        return TestClient(Recorder.app)

    yield client
    close()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr, and nowhere else."""
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    return said.err


# What is refused


@pytest.mark.parametrize("backend", ["reference", "jax"])
def test_a_directory_that_is_no_checkpoint(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--backend", backend, "--model", str(tmp_path)]) == 2
    assert str(tmp_path) in one_line(capsys)


def test_a_port_that_is_taken(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--backend", "reference", "--port", port]) == 2
    assert port in one_line(capsys)


@pytest.mark.parametrize("port", ["70000", "-1", "65536", "http"])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--port", port])
    assert left.value.code == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "example.org"])
def test_an_open_endpoint_has_to_be_asked_for(host: str) -> None:
    with pytest.raises(ValueError, match="--allow-open"):
        check_bind(host, [], False)
    check_bind(host, [], True)
    check_bind(host, ["key"], False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_nobody_else_reaches_a_loopback_address(host: str) -> None:
    check_bind(host, [], False)
    with pytest.raises(ValueError, match="--api-key is empty"):
        check_bind(host, ["key", ""], True)


def test_an_open_endpoint_is_refused_before_the_model_is_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--host", "0.0.0.0", "--model", "/nowhere"]) == 2
    assert "--allow-open" in one_line(capsys)


# What reaches the app


def test_keys(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "one, two,,")
    options = parser(["jax"]).parse_args(["--api-key", "three", "--api-key", "four"])
    assert keys_of(options) == ["three", "four", "one", "two"]
    asking = client("--api-key", "three")
    for key, status in ("one", 200), ("two", 200), ("three", 200), ("four", 401), ("", 401):
        assert post(asking, headers={"xi-api-key": key}).status_code == status


def test_without_keys_it_is_open(client: Any) -> None:
    assert post(client()).status_code == 200


def test_strict(client: Any) -> None:
    assert post(client(), best_of=2).status_code == 200
    assert post(client("--strict"), best_of=2).status_code == 422


def test_limits(client: Any) -> None:
    asking = client("--max-logprobs", "3", "--max-body-bytes", "200")
    assert post(asking, logprobs=3).status_code == 200
    assert post(asking, logprobs=4).status_code == 422
    assert post(asking, prompt="w" * 300).status_code == 413
    client("--max-concurrency", "7")
    assert [lane.limit for lane in Recorder.app.state.service.lanes.values()] == [7]


def test_host_and_port_from_the_environment(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("HOST", "127.0.0.2")
    monkeypatch.setenv("PORT", str(port))
    assert main(["--backend", "reference"]) == 0
    assert Recorder.port == port


# What is told


def test_the_announcement_has_a_command_that_works(
    client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    asking = client("--api-key", "k")
    first, second = capsys.readouterr().out.splitlines()
    command = shlex.split(second)
    url, body = command[1], json.loads(command[-1])
    assert url == f"http://127.0.0.1:{Recorder.port}/v1/openai/completions"
    assert url in first and "toy" in first
    assert command[2:4] == ["-H", "Authorization: Bearer $API_KEY"]
    path = url.removeprefix(f"http://127.0.0.1:{Recorder.port}")
    assert asking.post(path, json=body, headers={"xi-api-key": "k"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "reach"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7")],
)
def test_the_address_in_the_announcement_can_be_reached(host: str, reach: str) -> None:
    options = parser(["jax"]).parse_args([])
    told = command_line.announcement(host, 8000, "name", options, False)
    assert told.count(f"http://{reach}:8000/v1/openai/completions") == 2
    assert "API_KEY" not in told


def test_the_digest_of_a_directory(tmp_path: Path) -> None:
    """Names, sizes, and both ends of each file."""
    digests = set()
    size = 3 * command_line.EDGE
    for name, place in ("a", None), ("b", None), ("b", 0), ("b", size - 1):
        content = bytearray(size)
        if place is not None:
            content[place] = 1
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / name).write_bytes(content)
        digests.add(command_line.contents(tmp_path))
    (tmp_path / "b").write_bytes(bytes(size + 1))
    digests.add(command_line.contents(tmp_path))
    (tmp_path / "empty").write_bytes(b"")
    digests.add(command_line.contents(tmp_path))
    assert len(digests) == 6
