"""The command line: errors before the server starts, and options that reach the app."""

import json
import os
import shlex
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api import __main__ as command_line
from api.backends.checkpoint import DIGEST_BYTES, checkpoint_digest
from api.options.arguments import build_parser, check_bind
from tests.api.http_client import post
from tests.api.toy import toy_model

Run = Callable[..., int]
main = command_line.main


class Recorder:
    """Replaces the server: records the app and the port, and ends at once."""

    app: Starlette
    port: int
    options: dict[str, Any]

    def __init__(self, app: Starlette, on_ready: Callable[[int], None], **options: Any) -> None:
        Recorder.app, Recorder.options = app, options
        self.on_ready = on_ready

    def run(self, sockets: list[socket.socket]) -> None:
        Recorder.port = sockets[0].getsockname()[1]
        self.on_ready(Recorder.port)
        for bound in sockets:
            bound.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("COMPLETIONS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(command_line, "configure_logs", lambda level, style: None)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TestClient]]:
    """Return the client of the app that these arguments create around the toy model.

    The engine stays open after the command has ended.
    """
    served = toy_model()
    close = served.engine.close
    monkeypatch.setattr(served.engine, "close", lambda timeout=None: None)
    monkeypatch.setitem(command_line.BACKENDS, "reference", lambda *arguments: served)
    monkeypatch.setattr(command_line, "Server", Recorder)

    def client(*arguments: str) -> TestClient:
        assert main(["--backend", "reference", "--port", "0", *arguments]) == 0
        return TestClient(Recorder.app, base_url=f"http://127.0.0.1:{Recorder.port}")

    yield client
    close()


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the error on stderr. Asserts that it is the only output."""
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("error: ") and output.err.count("\n") == 1
    return output.err


# Errors before the server starts


@pytest.mark.parametrize("backend", ["reference", "jax"])
def test_missing_checkpoint_is_reported(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--backend", backend, "--model", str(tmp_path)]) == 2
    assert str(tmp_path) in error_line(capsys)


def test_taken_port_is_reported(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--backend", "reference", "--port", port]) == 2
    assert port in error_line(capsys)


def test_sigterm_while_loading_ends_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler is required: as process 1 of a container, the process has no default action."""
    before = signal.getsignal(signal.SIGTERM)

    def load(*_: Any) -> None:
        assert callable(signal.getsignal(signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(command_line.BACKENDS, "reference", load)
    with pytest.raises(SystemExit) as exit_info:
        main(["--backend", "reference"])
    assert exit_info.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("port", ["70000", "-1", "65536", "http"])
def test_invalid_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["--port", port])
    assert exit_info.value.code == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "example.org"])
def test_public_host_requires_key_or_allow_open(host: str) -> None:
    with pytest.raises(ValueError, match="--allow-open"):
        check_bind(host, [], False)
    check_bind(host, [], True)
    check_bind(host, ["key"], False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_host_requires_no_key(host: str) -> None:
    check_bind(host, [], False)
    with pytest.raises(ValueError, match="--api-key is empty"):
        check_bind(host, ["key", ""], True)


def test_public_host_is_refused_before_loading(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--host", "0.0.0.0", "--model", "/nowhere"]) == 2
    assert "--allow-open" in error_line(capsys)


# Options that reach the app


def test_keys_of_an_option_take_precedence_over_the_environment(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPLETIONS_API_KEY", "one, two,,")
    for arguments, valid in ((), {"one", "two"}), (("--api-key", "three"), {"three"}):
        locked = client(*arguments)
        for key in "one", "two", "three", "four", "":
            status = 200 if key in valid else 401
            assert post(locked, headers={"xi-api-key": key}).status_code == status


def test_authentication_is_off_without_keys(client: Any) -> None:
    assert post(client()).status_code == 200


def test_strict_option(client: Any) -> None:
    assert post(client(), best_of=2).status_code == 200
    assert post(client("--strict"), best_of=2).status_code == 422


def test_limit_options(client: Any) -> None:
    limited = client("--max-logprobs", "3", "--max-body-bytes", "200")
    assert post(limited, logprobs=3).status_code == 200
    assert post(limited, logprobs=4).status_code == 422
    assert post(limited, prompt="w" * 300).status_code == 413
    client("--max-concurrency", "7", "--max-response-values", "9")
    service = Recorder.app.state.service
    assert [handle.admission.limit for handle in service.handles.values()] == [7]
    assert service.max_response_values == 9


EVIL: dict[str, dict[str, str]] = {
    "host": {"Host": "evil.example"},
    "origin": {"Origin": "https://evil.example"},
}


@pytest.mark.parametrize("headers", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 403),
        (["--host", "127.0.0.3"], 403),
        (["--host", "localhost"], 403),
        (["--allow-open"], 200),
        (["--host", "0.0.0.0", "--allow-open"], 200),
        (["--api-key", "k"], 200),
    ],
    ids=str,
)
def test_other_hosts_and_pages_are_refused_on_loopback_without_a_key(
    client: Any, arguments: list[str], status: int, headers: dict[str, str]
) -> None:
    response = post(client(*arguments), headers={"xi-api-key": "k"} | headers)
    assert response.status_code == status


def test_allowed_origin_option(client: Any) -> None:
    allowed = client("--allowed-origin", "https://a.example", "--allowed-origin", "HTTP://B:81")
    for origin, status in ("https://a.example", 200), ("http://b:81", 200), ("http://b", 403):
        response = post(allowed, headers={"Origin": origin})
        assert response.status_code == status
        expected = origin if status == 200 else None
        assert response.headers.get("access-control-allow-origin") == expected


def test_host_and_port_from_environment(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("COMPLETIONS_HOST", "127.0.0.2")
    monkeypatch.setenv("COMPLETIONS_PORT", str(port))
    assert main(["--backend", "reference"]) == 0
    assert Recorder.port == port


# Output


def test_startup_message_has_a_working_command(
    client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = client("--api-key", "k")
    first, second = capsys.readouterr().out.splitlines()
    command = shlex.split(second)
    url, body = command[1], json.loads(command[-1])
    assert url == f"http://127.0.0.1:{Recorder.port}/v1/openai/completions"
    assert url in first and "toy" in first
    assert command[2:4] == ["-H", "Authorization: Bearer $API_KEY"]
    path = url.removeprefix(f"http://127.0.0.1:{Recorder.port}")
    assert locked.post(path, json=body, headers={"xi-api-key": "k"}).status_code == 200


def test_startup_message_has_the_page_if_it_is_enabled() -> None:
    for arguments, lines in ([], 2), (["--explain"], 3), (["--no-explain"], 2):
        options = build_parser(["jax"]).parse_args(arguments)
        message = command_line.startup_message(8000, "name", options, False)
        assert len(message.splitlines()) == lines
        assert message.endswith(": http://127.0.0.1:8000/") == (lines == 3)


def test_explain_option_mounts_the_page(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client().get("/").status_code == 404
    assert client("--explain").get("/").status_code == 200
    monkeypatch.setenv("COMPLETIONS_EXPLAIN", "true")
    assert client().get("/").status_code == 200
    assert client("--no-explain").get("/").status_code == 404


def test_model_too_large_to_explain_is_refused(
    client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(5 * 2**30)
    assert main(["--backend", "reference", "--model", f"large={tmp_path}", "--explain"]) == 2
    assert "--explain" in error_line(capsys)


@pytest.mark.parametrize(
    ("host", "display_host"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7")],
)
def test_startup_message_has_a_reachable_address(host: str, display_host: str) -> None:
    options = build_parser(["jax"]).parse_args(["--host", host])
    message = command_line.startup_message(8000, "name", options, False)
    assert message.count(f"http://{display_host}:8000/v1/openai/completions") == 2
    assert "API_KEY" not in message


def test_checkpoint_digest_covers_names_sizes_and_ends(tmp_path: Path) -> None:
    digests = set()
    size = 3 * DIGEST_BYTES
    for name, position in ("a", None), ("b", None), ("b", 0), ("b", size - 1):
        content = bytearray(size)
        if position is not None:
            content[position] = 1
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / name).write_bytes(content)
        digests.add(checkpoint_digest(tmp_path))
    (tmp_path / "b").write_bytes(bytes(size + 1))
    digests.add(checkpoint_digest(tmp_path))
    (tmp_path / "empty").write_bytes(b"")
    digests.add(checkpoint_digest(tmp_path))
    assert len(digests) == 6


def test_reference_refuses_several_hosts(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--backend", "reference", "--hosts", "2", "--port", "0"]) == 2
    assert "--hosts: needs --backend jax" in capfd.readouterr().err
