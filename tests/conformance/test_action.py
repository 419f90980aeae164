"""The GitHub action: its inputs, and its shell steps, run in their order on a real server."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from reference.bundle import Bundle
from tests.api.conftest import running_server
from tests.conformance.cli.conftest import ENDS, KEY, RANGE, clamp_top_p
from tests.conformance.mutations.engine import conforming_app

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = ACTION["runs"]["steps"]
SCRIPTS = [step for step in STEPS if "run" in step]
EXPRESSION = re.compile(r"\$\{\{ *([\w.-]+) *\}\}")
# `pip` is recorded, and the console script is that of this checkout.
PYTHON = """#!/bin/sh
printf '%s\\n' "$@" > "$ACTION_TEST/python-arguments"
"""
COMMAND = """#!/bin/sh
exec "{python}" -m completions_spec "$@"
"""


class Runner:
    """Runs the shell steps of a composite action as GitHub does, up to the first that fails."""

    def __init__(self, directory: Path, inputs: dict[str, str]) -> None:
        self.directory = directory
        defaults = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
        self.inputs = defaults | inputs
        self.outputs: dict[str, dict[str, str]] = {}
        tools = directory / "bin"
        tools.mkdir()
        for name, text in {"python": PYTHON, "completions-spec": COMMAND}.items():
            (tools / name).write_text(text.format(python=sys.executable))
            (tools / name).chmod(0o755)

    def run(self) -> int:
        for step in SCRIPTS:
            status = self.run_step(step)
            if status:
                return status
        return 0

    def run_step(self, step: dict[str, Any]) -> int:
        output, summary = self.directory / "output", self.directory / "summary"
        output.write_text("")
        environment = {name: self.value(text) for name, text in step.get("env", {}).items()}
        environment |= {
            "PATH": f"{self.directory / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "ACTION_TEST": str(self.directory),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
        }
        bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        status = subprocess.run(bash, env=environment, cwd=self.directory).returncode
        lines = [line.partition("=") for line in output.read_text().splitlines()]
        self.outputs[step.get("id", "")] = {name: value for name, _, value in lines}
        return status

    def value(self, text: str) -> str:
        """Return a text with its expressions replaced."""

        def replace(match: re.Match[str]) -> str:
            kind, *names = match[1].split(".")
            if kind == "inputs":
                return self.inputs[names[0]]
            if kind == "steps":
                return self.outputs[names[0]][names[2]]
            return {"github.action_path": str(ROOT)}[match[1]]

        return EXPRESSION.sub(replace, text)


def test_scripts_have_no_expressions() -> None:
    assert not any("${{" in step["run"] for step in SCRIPTS)


def test_expressions_name_inputs_and_steps() -> None:
    text = (ROOT / "action.yml").read_text("utf-8")
    ids = {step.get("id") for step in STEPS}
    for name in re.findall(r"inputs\.([\w-]+)", text):
        assert name in ACTION["inputs"]
    for name in re.findall(r"steps\.([\w-]+)", text):
        assert name in ids
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    assert used == set(ACTION["inputs"])


@pytest.fixture(scope="module")
def address(tiny_model: Bundle) -> Any:
    with running_server(clamp_top_p(conforming_app(tiny_model, keys=[KEY]))) as server:  # type: ignore[arg-type]
        yield server


def inputs(address: str, *checks: str, **more: str) -> dict[str, str]:
    options = "\n".join(f"--only {check}" for check in checks)
    return {"url": f"{address}/v1", "model": "tiny", "api-key": KEY, "options": options} | more


def test_conforming_server(tmp_path: Path, address: str) -> None:
    runner = Runner(tmp_path, inputs(address, ENDS, name="a b", version="1.2; exit 3"))
    assert runner.run() == 0
    installed = (tmp_path / "python-arguments").read_text().splitlines()
    assert installed[-1] == f"{ROOT}[conformance]"
    report = json.loads((tmp_path / "conformance-report/report.json").read_text())
    assert (report["server"], report["about"]["version"]) == ("a b", "1.2; exit 3")
    assert json.loads(runner.outputs["report"]["badge"])["message"] == "1 of 1 checks"
    assert "1 checks pass, no findings" in (tmp_path / "summary").read_text()
    assert (tmp_path / "conformance-report/report.html").stat().st_size > 1000


def test_findings_fail_the_job_after_the_reports(tmp_path: Path, address: str) -> None:
    runner = Runner(tmp_path, inputs(address, ENDS, RANGE, directory="out"))
    assert runner.run() == 1
    badge = json.loads((tmp_path / "out/badge.json").read_text())
    assert badge["message"] == "1 of 2 checks" and badge["color"] == "orange"
    [suite] = JUnitXml.fromstring((tmp_path / "out/junit.xml").read_text())
    assert suite.failures == 1
    assert not any(KEY in file.read_text() for file in (tmp_path / "out").iterdir())


def test_known_deviations(tmp_path: Path, address: str) -> None:
    known = tmp_path / "known deviations.toml"
    known.write_text(f'[[expect]]\nid = "{RANGE}"\nreason = "we clamp"\n')
    assert Runner(tmp_path, inputs(address, ENDS, RANGE, expect=known.name)).run() == 0


def test_server_that_is_not_there(tmp_path: Path) -> None:
    runner = Runner(tmp_path, inputs("http://127.0.0.1:9", ENDS))
    assert runner.run() == 2
    assert runner.outputs["check"] == {"status": "2"} and "badge" not in runner.outputs["report"]
