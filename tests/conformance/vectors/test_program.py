"""Programs that answer in other ways, fail, or do not answer."""

import shlex
import sys
import time
from pathlib import Path

import pytest

from conformance.harness.result import Result
from conformance.vectors.checking import check_program
from conformance.vectors.folder import folder
from conformance.vectors.lines import Case
from conformance.vectors.program import CannotStart
from conformance.verdicts import Verdict

RULES = {
    "compare": {"token": {"rule": "exact"}},
    "statement": "s",
    "function": "f",
    "family": "draw",
}
CASES = [
    Case(id=f"draw/{i}", input={"n": i}, expect={"token": i}, dialects={"odd": {"token": i + 1}})
    for i in range(5)
]
READ = "import json, sys, os, time, signal\nqs = map(json.loads, sys.stdin)\n"
ANSWER = "print(json.dumps({'id': q['id'], 'token': q['input']['n']}), flush=True)\n"


def run(
    tmp_path: Path, code: str, seconds: float = 20.0, cases: list[Case] = CASES
) -> tuple[list[Result], list[str]]:
    script = tmp_path / "program.py"
    script.write_text(READ + code)
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"
    return check_program(command, folder(), [(RULES, cases)], seconds)


def verdicts(results: list[Result]) -> list[Verdict]:
    return [result.verdict for result in results]


@pytest.mark.parametrize(
    "code",
    [
        f"for q in qs:\n    {ANSWER}",
        f"for q in list(qs)[::-1]:\n    {ANSWER}",
        "for q in list(qs):\n    print(json.dumps({'id': q['id'], 'token': q['input']['n']}))",
        f"for q in qs:\n    {ANSWER}    print()",
    ],
    ids=["one by one", "in another order", "buffered", "with empty lines"],
)
def test_answers_in_any_order(tmp_path: Path, code: str) -> None:
    results, complaints = run(tmp_path, code)
    assert verdicts(results) == [Verdict.PASS] * 5 and not complaints
    assert [r.id for r in results] == [case.id for case in CASES]


def test_program_gets_no_expected_result(tmp_path: Path) -> None:
    code = "for q in qs:\n    print(json.dumps({'id': q['id'], 'token': sorted(q)}))"
    results, _ = run(tmp_path, code)
    assert {r.seen for r in results} == {'["family", "id", "input"]'}
    assert results[0].at is not None and "draw/0" in results[0].at.curl


def test_dialect_and_command_are_reported(tmp_path: Path) -> None:
    code = "for q in qs:\n    print(json.dumps({'id': q['id'], 'token': q['input']['n'] + 1}))"
    results, _ = run(tmp_path, code)
    assert {(r.verdict, r.note) for r in results} == {(Verdict.NON_STRICT, "odd")}
    at = results[0].at
    assert at is not None and at.curl.startswith("printf") and "| " in at.curl
    assert '"token": 1' in at.response


@pytest.mark.parametrize(
    ("ending", "note"),
    [
        ("sys.exit(3)", "status 3"),
        ("raise ValueError('no tensor')", "ValueError: no tensor"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("break", "status 0"),
        ("os.close(1); time.sleep(60)", "closed its output"),
    ],
)
def test_program_that_ends_early(tmp_path: Path, ending: str, note: str) -> None:
    code = f"for q in qs:\n    if q['input']['n'] == 2:\n        {ending}\n    {ANSWER}"
    results, _ = run(tmp_path, code)
    ends = [Verdict.PASS] * 2 + [Verdict.ERROR] + [Verdict.INCONCLUSIVE] * 2
    assert verdicts(results) == ends
    assert note in results[2].note


def test_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(3); open({str(mark)!r}, 'w')"
    code = f"import subprocess\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(60)"
    start = time.monotonic()
    results, _ = run(tmp_path, code, seconds=0.5)
    assert "no answer within 0.5 s" in results[0].note and time.monotonic() - start < 20
    time.sleep(4)
    assert not mark.exists()


@pytest.mark.parametrize(
    "noise",
    ["loading the model …", "[1, 2]", '{"id": "draw/9", "token": 1}', '{"token": 1}', '{"id": 5}'],
)
def test_lines_that_are_not_answers(tmp_path: Path, noise: str) -> None:
    code = f"print({noise!r}, flush=True)\nfor q in qs:\n    {ANSWER}"
    results, [complaint] = run(tmp_path, code)
    assert verdicts(results) == [Verdict.PASS] * 5
    assert "1 lines that are not the answer" in complaint


def test_second_answer_does_not_replace_the_first(tmp_path: Path) -> None:
    code = f"for q in qs:\n    print(json.dumps({{'id': q['id'], 'token': 99}}))\n    {ANSWER}"
    results, [complaint] = run(tmp_path, code)
    assert verdicts(results) == [Verdict.FAIL] * 5 and "draw/0" in complaint


def test_logs_on_stderr_are_no_problem(tmp_path: Path) -> None:
    code = f"for q in qs:\n    print('x' * 100000, file=sys.stderr)\n    {ANSWER}"
    assert verdicts(run(tmp_path, code)[0]) == [Verdict.PASS] * 5


def test_many_large_cases_do_not_block(tmp_path: Path) -> None:
    cases = [
        Case(id=f"draw/{i}", input={"n": i, "pad": [0] * 5000}, expect={"token": i})
        for i in range(300)
    ]
    results, _ = run(tmp_path, f"for q in list(qs):\n    {ANSWER}", cases=cases)
    assert verdicts(results) == [Verdict.PASS] * 300


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    code = "for q in qs:\n    print(json.dumps({'id': q['id'], 'token': float('nan')}))"
    assert verdicts(run(tmp_path, code)[0]) == [Verdict.FAIL] * 5


@pytest.mark.parametrize("command", ["/no/such/program --flag", "'unclosed", "", "/"])
def test_command_that_cannot_start(command: str) -> None:
    with pytest.raises(CannotStart, match="COMMAND"):
        check_program(command, folder(), [(RULES, CASES)], 1.0)
