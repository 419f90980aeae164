"""The command line: what it writes, what it says, and how it ends."""

import asyncio
import os
import pty
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from starlette.types import ASGIApp, Receive, Scope, Send

from conformance.__main__ import main
from conformance.harness.result import Report
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.api.conftest import listening, until
from tests.conformance.factories import report, result
from tests.conformance.mutations import asking, rewriting, whole

KEY = "sk-0123456789abcdef"
RANGE, ENDS = "top_p/out-of-range-is-refused", "top_p/the-ends-of-the-range-are-accepted"
CHEAP = ("--only", RANGE, "--only", ENDS)
TINY = ("--model", "tiny")


def clamping(app: ASGIApp) -> ASGIApp:
    """A server that takes any top_p: RANGE finds it."""
    return asking(
        app, lambda b: b | ({"top_p": min(max(b["top_p"], 0), 1)} if "top_p" in b else {})
    )


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "COMPLETIONS_API_KEY", "FORCE_COLOR", "TTY_COMPATIBLE":
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def good(tiny_model: Bundle) -> Iterator[str]:
    with listening(whole(tiny_model)) as address:  # type: ignore[arg-type]
        yield address


@pytest.fixture(scope="module")
def bad(tiny_model: Bundle) -> Iterator[str]:
    with listening(clamping(whole(tiny_model, keys=[KEY]))) as address:  # type: ignore[arg-type]
        yield address


def run(*arguments: object) -> int:
    return main(["run", *map(str, arguments)])


def test_nothing_is_found(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(good, *TINY, *CHEAP) == 0
    out, err = capsys.readouterr()
    assert "2 checks: 2 PASS;" in out and "\x1b" not in out and err == ""


def test_findings_are_told_and_written(
    bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data, cases = tmp_path / "a.html", tmp_path / "a.json", tmp_path / "a.xml"
    files = ("--report", page, "--json", data, "--junit", cases)
    named = ("--name", "clamping", "--seed", 7)
    assert run(bad, *TINY, *CHEAP, *files, *named, "--api-key", KEY) == 1
    out, err = capsys.readouterr()
    assert f"FAIL  {RANGE}  expected 422 for top_p; saw 200\n" in out and f"PASS  {ENDS}" not in out
    assert "2 checks: 1 PASS, 1 FAIL; " in out and "\x1b" not in out and err == ""
    found = Report.model_validate_json(data.read_bytes())
    assert (found.server, found.seed, found.url) == ("clamping", 7, f"{bad}/v1")
    assert {r.id: r.verdict for r in found.results} == {RANGE: Verdict.FAIL, ENDS: Verdict.PASS}
    assert "clamping" in page.read_text() and RANGE in page.read_text()
    [suite] = JUnitXml.fromstring(cases.read_text())
    assert (suite.tests, suite.failures) == (2, 1)
    assert not any(KEY in file.read_text() for file in (page, data, cases)) and KEY not in out


def test_the_key_may_come_from_the_environment(
    bad: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bad, *TINY, "--only", ENDS) == 2
    assert "401 (--api-key)" in capsys.readouterr().err
    monkeypatch.setenv("COMPLETIONS_API_KEY", KEY)
    assert run(bad, *TINY, "--only", ENDS) == 0


@pytest.mark.parametrize(
    ("entries", "status", "said"),
    [
        ([RANGE], 0, "(1 of them expected)"),
        (["top_p/out-*"], 0, "(expected: so it is)"),
        ([RANGE, ENDS], 1, f"{ENDS}: passes, and was expected not to"),
        ([RANGE, "top_p/gone"], 1, "top_p/gone: the expectation matches no check"),
        ([RANGE, "seed"], 0, "(1 of them expected)"),  # not in this run
    ],
)
def test_what_is_expected_is_no_finding(
    bad: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    entries: list[str],
    status: int,
    said: str,
) -> None:
    known = tmp_path / "known.toml"
    known.write_text("".join(f'[[expect]]\nid = "{e}"\nreason = "so it is"\n' for e in entries))
    assert run(bad, *TINY, *CHEAP, "--expect", known, "--api-key", KEY) == status
    assert said in capsys.readouterr().out


def test_requests_may_be_limited(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(good, *TINY, *CHEAP, "--max-requests", 4, "--concurrency", 1) == 0
    out = capsys.readouterr().out
    assert "1 PASS, 1 INCONCLUSIVE; 4 requests," in out and "the 4 requests" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "top_q"), "--only 'top_q'"),
        (("--skip", "top_p/none"), "--skip 'top_p/none'"),
        (("--only", "top_p", "--skip", "top_p"), "--skip"),
        (("--only", RANGE, "--depth", "truth"), "--depth"),
        (("--expect", "none.toml"), "--expect none.toml: No such file"),
        (("--truth", "none"), "--truth none"),
        (("--tolerance", "0.1"), "--tolerance"),
        (("--report", "none/a.html"), "--report none/a.html"),
        (("--json", "."), "--json ."),
        (("--junit", "none/a.xml"), "--junit none/a.xml"),
        (("--model", "another"), "--model"),
        (("--expect", os.devnull, "--only", "\x1b[31m\n"), "--only '\\x1b[31m\\n'"),
    ],
)
def test_what_cannot_be_run_names_the_option(
    good: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert run(good, *TINY, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--concurrency", "0"), "--concurrency"),
        (("--max-requests", "many"), "--max-requests"),
        (("--timeout", "inf"), "--timeout"),
        (("--depth", "deep"), "--depth"),
        (("--api-key", "a secret"), "--api-key"),
        (("--api-key", "sécret"), "--api-key"),
    ],
)
def test_what_is_no_value_names_the_option(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("http://127.0.0.1:1", *TINY, *arguments)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and said in err and "cret" not in err


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1", "http://no-such-host.invalid/v1", "http://", "http://[::1"),
        *("http://127.0.0.1:99999", "ftp://127.0.0.1", "http://me:secret@127.0.0.1:1"),
        *("http://127.0.0.1:1/v1?key=secret", ""),
    ],
)
def test_where_nobody_answers(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, *TINY, *CHEAP) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: URL") and err.count("\n") == 1 and "me:secret" not in err


def test_where_it_is_no_completions_server(
    good: str, tiny_model: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(good.replace("http:", "https:"), *TINY, *CHEAP, "--timeout", 10) == 2
    with listening(rewriting(whole(tiny_model), lambda text, kind: "<html>\n")) as address:  # type: ignore[arg-type]
        assert run(address, *TINY, *CHEAP) == 2
    with speaking_no_http() as address:
        assert run(address, *TINY, *CHEAP, "--timeout", 10) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3 and "SSL" in err[0] and "<html>" in err[1] and "Protocol" in err[2]


class NoHttp(socketserver.BaseRequestHandler):
    """Says something else to whoever comes."""

    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-none\r\n\r\n")
        while self.request.recv(1 << 16):
            pass


@contextmanager
def speaking_no_http() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), NoHttp) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_list_shows_what_would_be_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--only", "top_p", "--skip", RANGE, "--depth", "protocol"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "level", "depth", "evidence", "clause"]
    assert all(line.startswith("top_p/") and " protocol " in line for line in lines)
    assert any(line.startswith(ENDS) for line in lines)
    assert not any(line.startswith(RANGE) for line in lines)
    assert main(["list", "--only", "nothing"]) == 2


def test_explain_shows_what_a_check_rests_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", RANGE]) == 0
    out = capsys.readouterr().out
    for told in (
        *("A value above 1 or below 0 is a 422 that names the field.", "MUST", "logits.top_p"),
        *("def top_p(logits: Logits, mass: float)", "def out_of_range_is_refused("),
    ):
        assert told in out
    assert main(["explain", "top_p/out-of"]) == 2
    assert RANGE in capsys.readouterr().err


def test_compare_puts_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    one.write_text(report([result("top_p/a")], "first").model_dump_json())
    two.write_text(report([result("top_p/b", Verdict.ERROR)], "second").model_dump_json())
    page, text = tmp_path / "a.html", tmp_path / "a.md"
    files = ["--report", str(page), "--markdown", str(text)]
    assert main(["compare", str(one), str(two), *files]) == 0
    for written in page.read_text(), text.read_text():
        assert "first" in written and "second" in written and "ERROR" in written
    assert "second" in capsys.readouterr().out


def test_compare_names_what_it_cannot_read_or_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(report([]).model_dump_json())
    bad.write_text('{"server": 1}')
    for runs, page in (([good, bad], "a"), ([tmp_path / "none.json"], "a"), ([good], "none/a")):
        assert main(["compare", *map(str, runs), "--report", str(tmp_path / page)]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "bad.json" in first and "none.json" in second and "--report" in third


def test_parity_names_what_it_cannot_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["parity", "--only", "nothing/*"]) == 2
    assert main(["parity", "--model", str(tmp_path)]) == 2
    monkeypatch.setitem(sys.modules, "conformance.parity.harness.runner", None)
    assert main(["parity"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "--only 'nothing/*'" in first and "--model" in second and "conformance.parity" in third


@pytest.mark.parametrize(("agrees", "status"), [(True, 0), (False, 1)])
def test_parity_ends_as_the_backend_agrees(
    monkeypatch: pytest.MonkeyPatch, agrees: bool, status: int
) -> None:
    asked: dict[str, Any] = {}

    def run_all(*arguments: Any, **options: Any) -> bool:
        asked.update(options)
        return agrees

    monkeypatch.setattr("conformance.parity.harness.runner.run_all", run_all)
    assert main(["parity", "--max-examples", "3", "--only", "logits/*", "--seed", "5"]) == status
    assert (asked["max_examples"], asked["only"], asked["seed"]) == (3, "logits/*", 5)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "conformance", *map(str, arguments)]


def test_a_run_needs_neither_jax_nor_hypothesis(good: str) -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['jax', 'flax', 'hypothesis', 'starlette', 'uvicorn'])\n"
        "from conformance.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [sys.executable, "-c", code, "run", good, *TINY, "--only", ENDS]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_a_bar_is_only_for_terminals(good: str) -> None:
    terminal, end = pty.openpty()
    arguments = command("run", good, *TINY, *CHEAP)
    environment = os.environ | {"TERM": "xterm"}
    ended = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=end, timeout=60, env=environment
    )
    os.close(end)
    drawn = os.read(terminal, 1 << 16)
    os.close(terminal)
    assert b"\x1b[" in drawn and b"2/2" in drawn
    assert ended.returncode == 0 and b"2 PASS" in ended.stdout and b"\x1b" not in ended.stdout


class Slow:
    """An app that takes its time. arrived: requests so far."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.arrived = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrived += 1
        await asyncio.sleep(0.05)
        await self.app(scope, receive, send)


def test_ctrl_c_ends_with_what_there_is(tiny_model: Bundle, tmp_path: Path) -> None:
    app, data = Slow(whole(tiny_model)), tmp_path / "a.json"
    only = ("--only", "top_p/zero-keeps-the-likeliest", "--only", "user", "--json", data)
    with listening(app) as address:  # type: ignore[arg-type]
        running = subprocess.Popen(
            command("run", address, *TINY, *only, "--concurrency", 1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: app.arrived > 3, 30)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and err == ""
    assert "interrupted" in out and app.arrived < 20
    found = Report.model_validate_json(data.read_bytes())
    assert len(found.results) > 3 and found.count(Verdict.INCONCLUSIVE) > 0
