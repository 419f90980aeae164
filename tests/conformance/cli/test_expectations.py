"""Expectations: which verdicts they excuse, and when they are stale."""

from pathlib import Path

import pytest

from conformance.cli.expectations import Expectation, apply, read
from conformance.verdicts import Verdict
from tests.conformance.factories import report, result

TIES = result("top_p/ties", Verdict.NON_STRICT)
GOOD = result("top_p/good", Verdict.PASS)


def entry(identity: str, verdict: Verdict | None = None) -> Expectation:
    return Expectation(id=identity, reason="we know", verdict=verdict)


@pytest.mark.parametrize("identity", ["top_p/ties", "top_p/t*", "*/ties", "top_p", "*"])
def test_id_glob_and_parameter_excuse(identity: str) -> None:
    [applied], complaints = apply([TIES], [entry(identity)])
    assert applied.reason == "we know" and complaints == []
    assert report([applied]).ok and not report([TIES]).ok


def test_other_verdict_is_a_finding() -> None:
    [applied], complaints = apply([TIES], [entry("top_p/ties", Verdict.ERROR)])
    assert applied.finding
    assert complaints == ["top_p/ties: NON-STRICT, but was expected to be ERROR"]
    [applied], _ = apply([TIES], [entry("top_p/ties", Verdict.NON_STRICT)])
    assert not applied.finding


def test_reason_is_that_of_the_first_matching_entry() -> None:
    entries = [entry("top_p", Verdict.ERROR), entry("*/ties"), entry("top_p")]
    entries[1].reason = "ties are cut"
    [applied], _ = apply([TIES], entries)
    assert applied.reason == "ties are cut"


def test_unexpected_pass_is_a_complaint() -> None:
    applied, [complaint] = apply([TIES, GOOD], [entry("top_p")])
    assert complaint.startswith("top_p/good: passes") and "we know" in complaint
    assert applied[1].reason is None
    assert not report(applied, complaints=[complaint]).ok


def test_entry_without_a_match_is_a_complaint() -> None:
    _, [complaint] = apply([TIES], [entry("top_p/gone")])
    assert complaint.startswith("top_p/gone")


def test_entry_for_a_skipped_check_is_not_a_complaint() -> None:
    assert apply([TIES], [entry("seed/drawn")], ["seed/drawn"])[1] == []
    assert apply([TIES], [entry("seed/other")], ["seed/drawn"])[1] != []


def test_valid_file(tmp_path: Path) -> None:
    path = tmp_path / "known.toml"
    path.write_text('[[expect]]\nid = "top_p"\nreason = "so"\nverdict = "NON-STRICT"\n')
    assert read(path) == [Expectation(id="top_p", reason="so", verdict=Verdict.NON_STRICT)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[[expect", "Expected"),
        (b"\xff", "utf-8"),
        (b'[[expect]]\nid = "top_p"', "expect.0.reason"),
        (b'[[expect]]\nid = ""\nreason = "so"', "expect.0.id"),
        (b'[[expect]]\nid = "top_p"\nreason = ""', "expect.0.reason"),
        (b'[[expect]]\nid = "top_p"\nreason = "so"\nwhy = 1', "expect.0.why"),
        (b'[[expect]]\nid = "top_p"\nreason = "so"\nverdict = "PASS"', "expected to pass"),
        (b'[[expect]]\nid = "top_p"\nreason = "so"\nverdict = "WRONG"', "expect.0.verdict"),
        (b"[[expected]]", "expected"),
    ],
)
def test_invalid_file(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "known.toml"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"(?s)known.toml.*{message}"):
        read(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none.toml"):
        read(tmp_path / "none.toml")
