"""The command line, with two servers as processes."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.http.__main__ import main, named
from benchmarks.http.workloads import WORKLOADS

STUB = f"{sys.executable} -m tests.benchmarks.http.stub {{port}}"


@pytest.mark.lane
def test_workloads_on_two_servers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.json"
    options = ["--rounds", "2", "--scale", "0.05", "--json", str(path)]
    assert main([f"ours={STUB}", f"peer={STUB}", *options]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 2 * 2 * len(WORKLOADS)
    assert all(row["completed"] == row["sent"] > 0 and not row["errors"] for row in rows)
    output = capsys.readouterr()
    assert output.out.startswith("| load") and output.out.count("| peer |") == len(WORKLOADS) + 2
    assert len(output.err.splitlines()) == len(rows)


@pytest.mark.parametrize(
    "options",
    [
        ["a=http://x/v1", "a=http://y/v1"],
        ["a=http://x/v1", "--pid", "b=1"],
        ["a=http://x/v1", "--pid", "a=x"],
        ["a=http://x/v1", "--vocabulary", "259"],
        ["a=http://x/v1", "--scale", "0"],
        ["a=http://x/v1", "--rounds", "0"],
        ["a=server --port 8000"],
        ["http://x/v1"],
    ],
)
def test_invalid_options_exit_with_2(options: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(options)
    assert end.value.code == 2


def test_failing_server_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a=http://127.0.0.1:9/v1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: a: ConnectError") and error.count("\n") == 1


def test_names() -> None:
    assert named("a=http://x/v1/") == ("a", "http://x/v1")
    assert named("a=https://x/v1/completions") == ("a", "https://x/v1")
    assert named("a=env X=1 server {port}") == ("a", "env X=1 server {port}")
