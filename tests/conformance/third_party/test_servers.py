"""The configuration of the servers, their processes, and the command that tests all of them."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conformance.harness.registry import PROFILES
from conformance.reports.site import read
from conformance.third_party import __main__ as command
from conformance.third_party import configuration
from conformance.third_party.configuration import Absent, Configuration
from conformance.third_party.processes import NotStarted, listens, running
from tests.api.conftest import wait_until

PORT = 8391
SERVERS = configuration.read()
VALUES = {
    "python": "/venvs/a/bin/python",
    "bin": "/venvs/a/bin",
    "suite": sys.executable,
    "program": "/bin/true",
    "checkpoint": "/models/m",
    "folder": "/models",
    "name": "m",
    "port": "8123",
    "work": "/work/files",
}
SLEEP = ("-c", "import time; print('started', flush=True); time.sleep(60)")
LISTEN = (
    "import http.server, sys; "
    "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.BaseHTTPRequestHandler)"
    ".serve_forever()"
)


@pytest.mark.parametrize("name", SERVERS)
def test_command_has_checkpoint_and_port(name: str) -> None:
    server = SERVERS[name]
    words = configuration.filled(server.start, VALUES)
    assert "8123" in words
    assert {"/models/m", "/work/files/m"} & set(words) or server.directory == "{folder}"
    assert not any("{" in word for word in words)
    for prepared in server.prepare:
        assert not any("{" in word for word in configuration.filled(prepared, VALUES))


def test_packages_have_exact_versions() -> None:
    for server in SERVERS.values():
        assert all("==" in package for package in server.packages)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[a]\ntitle = "A"\nmemory = 1', "start"),
        ('[a]\ntitle = "A"\nstart = ["b"]\nmemory = 0', "memory"),
        ('[a]\ntitle = "A"\nstart = ["b"]\nmemory = 1\nports = 2', "ports"),
        ('[a]\ntitle = "A"\nstart = ["b"]\nmemory = 1\ncheckpoint = "onnx"', "checkpoint"),
        ('[a]\ntitle = "A"\nstart = ["b"]\nmemory = 1\ndepth = ["deep"]', "depth"),
        ("[a", "servers.toml"),
        ("a = 1", "servers.toml"),
    ],
)
def test_wrong_file_is_refused_by_key(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "servers.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=problem):
        configuration.read(file)


def test_profiles_exist() -> None:
    assert {server.profile for server in SERVERS.values()} <= set(PROFILES)


def test_absent_environment_and_program_are_named(tmp_path: Path) -> None:
    common: dict[str, Any] = {"title": "A", "start": ("a",), "memory": 1}
    with pytest.raises(Absent, match=r"venvs/one"):
        packaged = Configuration(**common, packages=("a==1",))
        configuration.locate("one", packaged, tmp_path / "venvs")
    with pytest.raises(Absent, match="no-such-program"):
        configuration.locate("one", Configuration(**common, program="no-such-program"), tmp_path)
    own = tmp_path / "one/bin/no-such-program"
    own.parent.mkdir(parents=True)
    own.touch()
    server = Configuration(**common, program="no-such-program")
    assert configuration.locate("one", server, tmp_path)["program"] == str(own)


def test_server_that_ends_is_reported_with_its_last_line(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; print('no such model'); sys.exit(3)"]
    with pytest.raises(NotStarted, match="status 3: no such model"):
        start(words, tmp_path)


def test_server_that_does_not_listen_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="does not listen after 1 s: started"):
        start([sys.executable, *SLEEP], tmp_path, timeout=1.0)


def test_memory_is_limited(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "b = bytearray(2**30); print(len(b))"]
    with pytest.raises(NotStarted, match="MemoryError"):
        start(words, tmp_path, memory=0.5)
    with pytest.raises(NotStarted, match=str(2**30)):
        start(words, tmp_path, memory=4.0)


def test_children_end_with_their_server(tmp_path: Path) -> None:
    ports = [str(PORT), str(PORT + 1)]
    start_child = f"subprocess.Popen([sys.executable, '-c', {LISTEN!r}, sys.argv[2]])"
    words = [sys.executable, "-c", f"import subprocess, sys; {start_child}; {LISTEN}", *ports]
    with running(words, PORT, tmp_path / "log"):
        wait_until(lambda: listens(PORT + 1))
    assert not listens(PORT) and not listens(PORT + 1)


def start(words: Sequence[str], directory: Path, **options: Any) -> None:
    with running(words, 1, directory / "log", **options):
        raise AssertionError("it does not listen")


TOML = """
[ours]
title = "ours"
start = ["{suite}", "-m", "api", "--backend", "reference", "--model", "{checkpoint}",
         "--served-model-name", "{name}", "--port", "{port}"]
key = "--api-key"
memory = 8
profile = "openai"
skip = { "prompt/*" = "not of interest" }

[dead]
title = "dead"
start = ["{suite}", "-c", "raise SystemExit('out of luck')"]
memory = 1

[absent]
title = "absent"
packages = ["absent==1"]
start = ["{python}"]
memory = 1
"""


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "servers.toml"
    file.write_text(TOML)
    monkeypatch.setattr(command, "read", lambda: configuration.read(file))
    monkeypatch.setattr(command, "PORT", PORT + 2)
    return tmp_path


def test_server_that_cannot_run_is_recorded_with_the_reason(servers: Path) -> None:
    out, work = servers / "site", servers / "work"
    arguments = [str(out), "--work", str(work), "--venvs", str(servers / "venvs")]
    assert command.main([*arguments, "--only", "dead", "absent"]) == 0
    reports = read(out)
    assert list(reports) == ["dead"] and "out of luck" in reports["dead"].about["not run"]
    assert "out of luck" in (out / "index.html").read_text()
    assert command.main([*arguments, "--only", "missing"]) == 2


def test_directories_of_the_machine_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"seen": f"File {tmp_path}/venvs/lib/a.py", "at": "/v1"}))
    command.redact(file, [tmp_path, tmp_path / "venvs"])
    assert json.loads(file.read_text()) == {"seen": "File …/lib/a.py", "at": "/v1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('File \\"/tmp/a/v', 'File \\"…'),
        (
            "at /home/me/venvs/x/lib/site-packages/engine/server/app.py:3",
            "at …/engine/server/app.py:3",
        ),
        ("/tmp/a/b/c/model.gguf is", "…/model.gguf is"),
        ("POST /v1/completions", "POST /v1/completions"),
        ("http://127.0.0.1/tmp/a", "http://127.0.0.1/tmp/a"),
    ],
)
def test_other_absolute_paths_are_shortened(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    command.redact(file, [])
    assert file.read_text() == expected


@pytest.mark.lane
def test_command_tests_a_server_and_writes_a_site(servers: Path) -> None:
    out, work = servers / "site", servers / "work"
    assert command.main([str(out), "--work", str(work), "--only", "ours"]) == 0
    report = read(out)["ours"]
    assert report.truth == "conformance" and report.about["arithmetic"] == "float32"
    assert not any(r.finding for r in report.results), [r for r in report.results if r.finding]
    assert not any(r.parameter == "prompt" for r in report.results)
    assert "prompt/*: not of interest" in report.about["skipped"]
    assert str(work) not in (out / "ours.html").read_text()
