"""The command line: output, files and exit status."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from starlette.types import ASGIApp, Receive, Scope, Send

from conformance.__main__ import main
from conformance.harness.registry import PROFILES, all_checks
from conformance.harness.result import Report
from conformance.verdicts import Verdict
from reference.bundle import Bundle
from tests.api.conftest import running_server, wait_until
from tests.conformance.cli.conftest import CHEAP, ENDS, KEY, RANGE, RANGE_GLOB, TINY, run
from tests.conformance.factories import report, result
from tests.conformance.mutations.engine import conforming_app


def test_conforming_server_has_status_0(
    conforming: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(conforming, *TINY, *CHEAP) == 0
    out, err = capsys.readouterr()
    assert "2 checks: 2 PASS;" in out and "\x1b" not in out and err == ""


def test_findings_are_printed_and_written(
    clamping: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data, cases = tmp_path / "a.html", tmp_path / "a.json", tmp_path / "a.xml"
    files = ("--report", page, "--json", data, "--junit", cases)
    named = ("--name", "clamping", "--seed", 7)
    assert run(clamping, *TINY, *CHEAP, *files, *named, "--api-key", KEY) == 1
    out, err = capsys.readouterr()
    assert f"FAIL  {RANGE}  expected 422 for top_p; saw 200\n" in out and f"PASS  {ENDS}" not in out
    assert "2 checks: 1 PASS, 1 FAIL; " in out and "\x1b" not in out and err == ""
    written = Report.model_validate_json(data.read_bytes())
    assert (written.server, written.seed, written.url) == ("clamping", 7, f"{clamping}/v1")
    assert {r.id: r.verdict for r in written.results} == {RANGE: Verdict.FAIL, ENDS: Verdict.PASS}
    assert "clamping" in page.read_text() and RANGE in page.read_text()
    [suite] = JUnitXml.fromstring(cases.read_text())
    assert (suite.tests, suite.failures) == (2, 1)
    assert not any(KEY in file.read_text() for file in (page, data, cases)) and KEY not in out


def test_key_from_the_environment(
    clamping: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clamping, *TINY, "--only", ENDS) == 2
    assert "401 (--api-key)" in capsys.readouterr().err
    monkeypatch.setenv("COMPLETIONS_API_KEY", KEY)
    assert run(clamping, *TINY, "--only", ENDS) == 0


@pytest.mark.parametrize(
    ("entries", "status", "message"),
    [
        ([RANGE], 0, "(1 of them expected)"),
        ([RANGE_GLOB], 0, "(expected: so it is)"),
        ([RANGE, ENDS], 1, f"{ENDS}: passes, but was expected not to"),
        ([RANGE, "top_p/gone"], 1, "top_p/gone: the expectation matches no check"),
        ([RANGE, "seed"], 0, "(1 of them expected)"),  # not in this run
    ],
)
def test_expected_verdict_is_not_a_finding(
    clamping: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    entries: list[str],
    status: int,
    message: str,
) -> None:
    known = tmp_path / "known.toml"
    known.write_text("".join(f'[[expect]]\nid = "{e}"\nreason = "so it is"\n' for e in entries))
    assert run(clamping, *TINY, *CHEAP, "--expect", known, "--api-key", KEY) == status
    assert message in capsys.readouterr().out


def test_max_requests(conforming: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(conforming, *TINY, *CHEAP, "--max-requests", 6, "--concurrency", 1) == 0
    out = capsys.readouterr().out
    assert "1 PASS, 1 INCONCLUSIVE; 6 requests," in out and "limit of 6 requests" in out


def test_list_shows_selected_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--only", "top_p", "--skip", RANGE, "--depth", "protocol"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "level", "depth", "evidence", "clause"]
    assert all(line.startswith("top_p/") and " protocol " in line for line in lines)
    assert any(line.startswith(f"{ENDS} ") for line in lines)
    assert not any(line.startswith(f"{RANGE} ") for line in lines)
    assert main(["list", "--only", "nothing"]) == 2


def test_explain_shows_clause_spec_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", RANGE]) == 0
    out = capsys.readouterr().out
    check = next(c for c in all_checks() if c.id == RANGE)
    for text in check.clause, "MUST", "logits.top_p", "def top_p(logits: Logits, mass: float)":
        assert text in out
    assert "conformance/checks/" in out and "(server: Server" in out
    assert main(["explain", ENDS[:-1]]) == 2
    assert f"did you mean {ENDS}?" in capsys.readouterr().err


def test_compare_shows_runs_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text(report([result("top_p/a")], "first").model_dump_json())
    second.write_text(report([result("top_p/b", Verdict.ERROR)], "second").model_dump_json())
    page, text = tmp_path / "a.html", tmp_path / "a.md"
    files = ["--report", str(page), "--markdown", str(text)]
    assert main(["compare", str(first), str(second), *files]) == 0
    for written in page.read_text(), text.read_text():
        assert "first" in written and "second" in written and "ERROR" in written
    assert "second" in capsys.readouterr().out


def test_compare_distinguishes_runs_of_one_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = ["2026-01-01T10:00:00", "2026-01-02T10:00:00", "2026-01-02T10:00:00"]
    files = [tmp_path / f"{i}.json" for i in range(3)]
    for file, started in zip(files, starts, strict=True):
        file.write_text(report([result()], "one", started=started).model_dump_json())
    assert main(["compare", *map(str, files)]) == 0
    out = capsys.readouterr().out
    for name in "one, 2026-01-01T10:00", "one, 2026-01-02T10:00, 1", "one, 2026-01-02T10:00, 2":
        assert name in out


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json", "--only", "top_p"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {c["id"] for c in listed} == {c.id for c in all_checks() if c.parameter == "top_p"}
    assert all(c["clause"] and c["spec"] == "logits.top_p" for c in listed)


def test_profile_selects_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    for profile, included, excluded in ("sampling", "min_p", "auth"), ("openai", "auth", "min_p"):
        assert main(["list", "--json", "--profile", profile]) == 0
        parameters = {c["parameter"] for c in json.loads(capsys.readouterr().out)}
        assert included in parameters and excluded not in parameters
    known = {c.parameter for c in all_checks()}
    assert all(set(names or ()) <= known for names in PROFILES.values())


def test_explain_shows_a_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "top_p"]) == 0
    out = capsys.readouterr().out
    assert "Defined by logits.top_p" in out and "def top_p(logits: Logits" in out
    assert all(c.id in out for c in all_checks() if c.parameter == "top_p")
    assert main(["explain", "sampler"]) == 0 and main(["explain", "top_q"]) == 2
    assert "did you mean top_" in capsys.readouterr().err


def test_result_has_options_and_fingerprints(conforming: str, tmp_path: Path) -> None:
    data = tmp_path / "a.json"
    assert run(conforming, *TINY, *CHEAP, "--concurrency", 1, "--json", data) == 0
    written = Report.model_validate_json(data.read_bytes())
    assert written.options["only"] == [RANGE, ENDS] and written.options["concurrency"] == 1
    assert (written.fingerprint or "").startswith("fp_") and written.truth_digest is None


def test_compare_names_unusable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(report([]).model_dump_json())
    bad.write_text('{"server": 1}')
    for runs, page in (([good, bad], "a"), ([tmp_path / "none.json"], "a"), ([good], "none/a")):
        assert main(["compare", *map(str, runs), "--report", str(tmp_path / page)]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "bad.json" in first and "none.json" in second and "--report" in third


def test_parity_names_unusable_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["parity", "--only", "nothing/*"]) == 2
    assert main(["parity", "--model", str(tmp_path)]) == 2
    monkeypatch.setitem(sys.modules, "conformance.parity.runner", None)
    assert main(["parity"]) == 2
    first, second, third = capsys.readouterr().err.splitlines()
    assert "--only 'nothing/*'" in first and "--model" in second and "conformance.parity" in third


@pytest.mark.parametrize(("agrees", "status"), [(True, 0), (False, 1)])
def test_parity_status_is_the_agreement(
    monkeypatch: pytest.MonkeyPatch, agrees: bool, status: int
) -> None:
    passed: dict[str, Any] = {}

    def run_all(*arguments: Any, **options: Any) -> bool:
        passed.update(options)
        return agrees

    monkeypatch.setattr("conformance.parity.runner.run_all", run_all)
    assert main(["parity", "--max-examples", "3", "--only", "logits/*", "--seed", "5"]) == status
    assert (passed["max_examples"], passed["only"], passed["seed"]) == (3, "logits/*", 5)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "conformance", *map(str, arguments)]


def test_run_needs_neither_jax_nor_hypothesis(conforming: str) -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['jax', 'flax', 'hypothesis', 'starlette', 'uvicorn'])\n"
        "from conformance.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [sys.executable, "-c", code, "run", conforming, *TINY, "--only", ENDS]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_progress_bar_is_only_on_terminals(conforming: str) -> None:
    terminal, end = pty.openpty()
    arguments = command("run", conforming, *TINY, *CHEAP)
    environment = os.environ | {"TERM": "xterm"}
    ended = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=end, timeout=60, env=environment
    )
    os.close(end)
    output = os.read(terminal, 1 << 16)
    os.close(terminal)
    assert b"\x1b[" in output and b"2/2" in output
    assert ended.returncode == 0 and b"2 PASS" in ended.stdout and b"\x1b" not in ended.stdout


class Slow:
    """A slow app. arrived: requests so far."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.arrived = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrived += 1
        await asyncio.sleep(0.05)
        await self.app(scope, receive, send)


def test_ctrl_c_writes_partial_results(tiny_model: Bundle, tmp_path: Path) -> None:
    app, data = Slow(conforming_app(tiny_model)), tmp_path / "a.json"
    only = ("--only", "top_p/zero-keeps-argmax", "--only", "user", "--json", data)
    with running_server(app) as address:  # type: ignore[arg-type]
        running = subprocess.Popen(
            command("run", address, *TINY, *only, "--concurrency", 1),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: app.arrived > 3, 30)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and err == ""
    assert "interrupted" in out and app.arrived < 20
    written = Report.model_validate_json(data.read_bytes())
    assert len(written.results) > 3 and written.count(Verdict.INCONCLUSIVE) > 0
