"""The command line: vectors export, check, judge."""

import json
import shlex
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest

from conformance.__main__ import main
from conformance.harness.result import Report
from conformance.vectors.folder import folder
from tests.conformance.vectors.conftest import Families

REFERENCE = f"{shlex.quote(sys.executable)} -m conformance.vectors"
RANK = """
import json, sys
for line in sys.stdin:
    q = json.loads(line)
    x, k = q["input"]["logits"], q["input"]["top_k"]
    left = [i for i, v in enumerate(x) if v is not None]
    kept = sorted(left, key=lambda i: -x[i])[: k or None]
    print(json.dumps({"id": q["id"], "kept": kept}))
"""


@pytest.fixture
def by_rank(tmp_path: Path) -> str:
    script = tmp_path / "by_rank.py"
    script.write_text(RANK)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"


def test_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["vectors", "export", str(out)]) == 0
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"top_k.jsonl", "schemas/top_k-1.json", "wide.safetensors"} <= names
    assert (out / "top_k.jsonl").read_bytes() == (folder() / "top_k.jsonl").read_bytes()
    assert main(["vectors", "export", str(out)]) == 2
    assert "not an empty directory" in capsys.readouterr().err
    assert main(["vectors", "export", str(out / "top_k.jsonl")]) == 2


def test_reference_passes_as_a_program(tmp_path: Path) -> None:
    skip = ["--skip", "request", "--skip", "wide", "--skip", "grammar_*/*"]
    out = tmp_path / "out.json"
    assert main(["vectors", "check", REFERENCE, *skip, "--json", str(out)]) == 0
    report = Report.model_validate_json(out.read_bytes())
    assert report.ok and len(report.results) > 500
    assert {r.verdict for r in report.results} == {"PASS"}


def test_reports_name_the_dialect(
    by_rank: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("json", "junit", "report")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    only = ["--only", "top_k", "--name", "my sampler"]
    assert main(["vectors", "check", by_rank, *only, *options]) == 1
    output = capsys.readouterr().out
    assert "NON-STRICT  top_k/tie-at-the-boundary  top_k by rank: ties are cut" in output
    report = Report.model_validate_json(files["json"].read_bytes())
    assert report.server == "my sampler" and report.model.startswith("vectors ")
    assert "FAIL" not in {r.verdict for r in report.results}
    page = files["report"].read_text("utf-8")
    assert "ties are cut" in page and "printf" in page and "curl -sS" not in page
    cases = list(xml.etree.ElementTree.parse(files["junit"]).iter("testcase"))
    assert len(cases) == len(report.results)


def test_expectations(by_rank: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = tmp_path / "known.toml"
    ties = [r["id"] for r in results(by_rank, tmp_path) if r["verdict"] != "PASS"]
    assert len(ties) > 5
    entries = [
        f'[[expect]]\nid = "{i}"\nverdict = "NON-STRICT"\nreason = "we sort"\n' for i in ties
    ]
    known.write_text("".join(entries))
    command = ["vectors", "check", by_rank, "--only", "top_k", "--expect", str(known)]
    assert main(command) == 0
    known.write_text("".join(entries) + '[[expect]]\nid = "top_k/one"\nreason = "stale"\n')
    assert main(command) == 1
    assert "top_k/one: passes, but was expected not to" in capsys.readouterr().out


def results(command: str, tmp_path: Path) -> list[dict[str, str]]:
    out = tmp_path / "results.json"
    main(["vectors", "check", command, "--only", "top_k", "--json", str(out)])
    return json.loads(out.read_text())["results"]


def test_exported_folder_is_used(by_rank: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(["vectors", "export", str(out)])
    for path in out.glob("*.jsonl"):
        if path.name not in ("top_k.jsonl", "withdrawn.jsonl"):
            path.unlink()
    [header, *cases] = (out / "top_k.jsonl").read_text().splitlines()
    (out / "top_k.jsonl").write_text("\n".join([header, *[c for c in cases if '"tie"' not in c]]))
    assert main(["vectors", "check", by_rank, "--vectors", str(out)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "/no/such/program"], "/no/such/program"),
        (["check", REFERENCE, "--only", "top_q"], "'top_q' matches no case"),
        (["check", REFERENCE, "--only", "top_k", "--skip", "top_k"], "leave no case"),
        (["check", REFERENCE, "--vectors", "/nowhere"], "/nowhere"),
        (["check", REFERENCE, "--only", "top_k", "--expect", "/nowhere.toml"], "/nowhere.toml"),
        (["check", REFERENCE, "--only", "top_k", "--json", "/nowhere/x"], "cannot write"),
        (["judge", "/nowhere.jsonl"], "/nowhere.jsonl"),
        (["judge", "x", "--only", "top_k"], "distribution"),
    ],
)
def test_command_that_cannot_run(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vectors", *arguments]) == 2
    assert message in capsys.readouterr().err


def write_samples(path: Path, families: Families, power: float) -> None:
    rng = np.random.default_rng(5)
    lines = []
    for case in families["distribution"][1]:
        p = np.array(case.expect["probabilities"]) ** power
        tokens = rng.choice(len(p), 1000, p=p / p.sum()).tolist()
        lines += [
            json.dumps({"id": case.id, "tokens": half}) for half in (tokens[:500], tokens[500:])
        ]
    path.write_text("\n".join(lines) + "\n")


def test_judge(families: Families, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = tmp_path / "samples.jsonl"
    write_samples(samples, families, 1.0)
    assert main(["vectors", "judge", str(samples)]) == 0
    assert f"{len(families['distribution'][1])} PASS" in capsys.readouterr().out
    write_samples(samples, families, 3.0)
    assert main(["vectors", "judge", str(samples)]) == 1
    first = samples.read_text().splitlines()[:2]
    samples.write_text("\n".join(first))
    main(["vectors", "judge", str(samples)])
    assert "INCONCLUSIVE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "distribution/x", "tokens": []}', "'distribution/x' is not a selected case"),
        ('{"tokens": []}', "'id'"),
        ("{", "SAMPLES"),
        ("5", "SAMPLES"),
        ('{"id": "distribution/random-0", "tokens": 5}', "SAMPLES"),
    ],
)
def test_invalid_samples(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text(text)
    assert main(["vectors", "judge", str(samples)]) == 2
    assert message in capsys.readouterr().err
