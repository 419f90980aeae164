"""What is excused, and what goes stale."""

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
def test_an_id_a_glob_or_a_parameter_excuses(identity: str) -> None:
    [found], complaints = apply([TIES], [entry(identity)])
    assert found.reason == "we know" and complaints == []
    assert report([found]).ok and not report([TIES]).ok


def test_another_verdict_than_the_expected_is_a_finding() -> None:
    [found], complaints = apply([TIES], [entry("top_p/ties", Verdict.ERROR)])
    assert found.finding
    assert complaints == ["top_p/ties: NON-STRICT, and was expected to be ERROR"]
    [found], _ = apply([TIES], [entry("top_p/ties", Verdict.NON_STRICT)])
    assert not found.finding


def test_the_first_entry_that_excuses_gives_the_reason() -> None:
    entries = [entry("top_p", Verdict.ERROR), entry("*/ties"), entry("top_p")]
    entries[1].reason = "ties are cut"
    [found], _ = apply([TIES], entries)
    assert found.reason == "ties are cut"


def test_a_pass_that_was_not_expected_is_a_complaint() -> None:
    found, [complaint] = apply([TIES, GOOD], [entry("top_p")])
    assert complaint.startswith("top_p/good: passes") and "we know" in complaint
    assert found[1].reason is None
    assert not report(found, complaints=[complaint]).ok


def test_an_entry_that_matches_nothing_is_a_complaint() -> None:
    _, [complaint] = apply([TIES], [entry("top_p/gone")])
    assert complaint.startswith("top_p/gone")


def test_a_check_that_was_left_out_may_still_be_as_expected() -> None:
    assert apply([TIES], [entry("seed/drawn")], ["seed/drawn"])[1] == []
    assert apply([TIES], [entry("seed/other")], ["seed/drawn"])[1] != []


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "known.toml"
    path.write_text('[[expect]]\nid = "top_p"\nreason = "so"\nverdict = "NON-STRICT"\n')
    assert read(path) == [Expectation(id="top_p", reason="so", verdict=Verdict.NON_STRICT)]


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_a_file_that_is_none(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "known.toml"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=f"(?s)known.toml.*{said}"):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none.toml"):
        read(tmp_path / "none.toml")
