"""The static site, the reports that it keeps, and badges."""

import re
from pathlib import Path
from typing import Any

import pytest

from conformance.__main__ import main
from conformance.harness.registry import all_checks
from conformance.harness.result import Report, Result
from conformance.reports import recorded, site
from conformance.reports.badge import badge
from conformance.verdicts import Verdict
from reference.params import SPEC_VERSION
from tests.conformance.factories import exchange, report, result
from tests.conformance.reports.test_reports import EVIL, Page

CHECKS = {check.id: check for check in all_checks()}
LONG = "x" * 5000


def of_check(identity: str, verdict: Verdict = Verdict.PASS, **fields: Any) -> Result:
    own = {name: getattr(CHECKS[identity], name) for name in recorded.OF_CHECK}
    return result(identity, verdict, **own | fields)


TOP_P = [check.id for check in all_checks() if check.parameter == "top_p"]
SEED = [check.id for check in all_checks() if check.parameter == "seed"]


def run(server: str = "one", **fields: Any) -> Report:
    request = exchange(body=LONG, response=LONG)
    failed = of_check(TOP_P[1], Verdict.FAIL, expected="this", seen=LONG, at=request)
    results = [of_check(TOP_P[0]), failed, of_check(SEED[0], Verdict.UNSUPPORTED, note="refused")]
    return report(results, server, about={"version": "one 1.2"}, **fields)


def test_recorded_report_is_short_and_keeps_its_meaning() -> None:
    original = run(spec="0.9")
    text = recorded.compact(original)
    restored = recorded.restore(text)
    assert len(text) < 4000 and text.count("\n") < 60
    assert [(r.id, r.verdict, r.clause) for r in restored.results] == [
        (r.id, r.verdict, r.clause) for r in original.results
    ]
    assert (restored.spec, restored.about, restored.headline) == (
        *("0.9", original.about, original.headline),
    )
    assert recorded.compact(restored) == text
    at = restored.results[1].at
    assert at is not None and not at.whole and "too long" in at.curl


def test_recorded_result_of_a_check_that_is_gone_is_left_out() -> None:
    text = recorded.compact(run()).replace(TOP_P[0], "top_p/of-an-older-version")
    assert [r.id for r in recorded.restore(text).results] == [TOP_P[1], SEED[0]]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"results": 3}', '{"results": []}'])
def test_other_file_is_not_a_report(text: str) -> None:
    with pytest.raises(ValueError):
        recorded.restore(text)


def test_overview_links_each_cell_to_its_details(tmp_path: Path) -> None:
    assert site.update(tmp_path, [("one", run()), ("two", run("two"))], ["two"]) == 2
    page = Page((tmp_path / "index.html").read_text())
    names = [link for link in page.links if "#" not in link]
    assert names == ["two.html", "one.html"] * 2
    for name in "one", "two":
        details = Page((tmp_path / f"{name}.html").read_text())
        targets = {link for link in page.links if link.startswith(f"{name}.html#")}
        assert targets == {f"{name}.html#top_p", f"{name}.html#seed"}
        assert {link.partition("#")[2] for link in targets} <= set(details.ids)
        assert len(details.ids) == len(set(details.ids))
        assert "index.html" in details.links and "one 1.2" in details.text
    assert all(text in page.text for text in ("1/2", SPEC_VERSION, run().started[:10]))
    assert "one 1.2" in page.text


def test_cell_shows_the_most_severe_verdict() -> None:
    for verdict in Verdict:
        cell = site.cell(report([of_check(TOP_P[0], verdict)]), "top_p")
        assert cell is not None and cell.verdict is verdict
    mixed = report([of_check(i, v) for i, v in zip(TOP_P, Verdict, strict=False)])
    cell = site.cell(mixed, "top_p")
    assert cell is not None and cell.verdict is Verdict.ERROR and cell.text == "1/4"
    assert site.cell(mixed, "seed") is None


def test_site_is_self_contained_and_inert(tmp_path: Path) -> None:
    evil = of_check(TOP_P[0], Verdict.FAIL, note=EVIL, expected=EVIL, seen=EVIL)
    site.update(tmp_path, [("a", report([evil], EVIL, about={"version": EVIL, "note": EVIL}))], [])
    for file in tmp_path.glob("*.html"):
        text = file.read_text()
        page = Page(text)
        assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {*page.tags}
        assert not {"src", "action", "data"} & page.attributes
        assert not any(name.startswith("on") for name in page.attributes)
        assert "url(" not in text and "<script>alert(1)</script>" in page.text


def test_later_run_replaces_a_result_and_a_failed_one_does_not(tmp_path: Path) -> None:
    site.update(tmp_path, [("one", run(started="2026-01-01T00:00:00"))], [])
    failed = report([], about={"not run": "no memory"}, started="2026-02-02T00:00:00")
    site.update(tmp_path, [("one", failed), ("two", failed)], [])
    kept = site.read(tmp_path)
    assert len(kept["one"].results) == 3 and kept["one"].started == "2026-01-01T00:00:00"
    assert kept["one"].about["last attempt"] == "2026-02-02: no memory"
    assert "no memory" in (tmp_path / "index.html").read_text()
    assert "not run" in Page((tmp_path / "index.html").read_text()).text
    site.update(tmp_path, [("one", run(started="2026-03-03T00:00:00"))], [])
    again = site.read(tmp_path)["one"]
    assert again.started == "2026-03-03T00:00:00" and "last attempt" not in again.about


def test_command_writes_site_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out, tables = tmp_path / "one.json", tmp_path / "site", tmp_path / "tables.md"
    file.write_text(run().model_dump_json())
    assert main(["site", str(out), str(file), "--markdown", str(tables)]) == 0
    assert (out / "one.html").exists() and "## top\\_p" in tables.read_text()
    file.unlink()
    assert main(["site", str(out)]) == 0  # from what was recorded
    (out / "results/two.json").write_text("{}")
    assert main(["site", str(out)]) == 2
    assert "two.json" in capsys.readouterr().err
    assert main(["site", str(tmp_path / "empty")]) == 2


@pytest.mark.parametrize(
    ("verdicts", "message", "color"),
    [
        ([Verdict.PASS] * 4, "4 of 4 checks", "brightgreen"),
        ([*[Verdict.PASS] * 9, Verdict.NON_STRICT], "9 of 10 checks", "green"),
        ([*[Verdict.PASS] * 3, Verdict.FAIL], "3 of 4 checks", "yellow"),
        ([Verdict.PASS, Verdict.ERROR], "1 of 2 checks", "orange"),
        ([Verdict.FAIL, Verdict.FAIL], "0 of 2 checks", "red"),
        ([Verdict.PASS, Verdict.UNSUPPORTED, Verdict.INCONCLUSIVE], "1 of 1 checks", "brightgreen"),
        ([Verdict.NOT_APPLICABLE], "no result", "lightgrey"),
    ],
)
def test_badge(verdicts: list[Verdict], message: str, color: str) -> None:
    shown = badge(report([result(f"top_p/{i}", v) for i, v in enumerate(verdicts)]), "a label")
    assert shown == {"schemaVersion": 1, "label": "a label", "message": message, "color": color}


def test_badge_counts_an_expected_deviation_and_a_shared_cause_once() -> None:
    known = result("top_p/b", Verdict.FAIL, reason="we know")
    repeated = result("top_p/c", Verdict.FAIL, same_as="top_p/b")
    shown = badge(report([result("top_p/a"), known, repeated]), "a")
    assert (shown["message"], shown["color"]) == ("1 of 2 checks", "orange")


def test_badge_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "run.json", tmp_path / "badge.json"
    file.write_text(run().model_dump_json())
    assert main(["badge", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f'"label": "completions spec {SPEC_VERSION}"' in printed
    assert main(["badge", str(file), "--label", "mine", "--out", str(out)]) == 0
    assert re.search('"label": "mine"', out.read_text())
    assert main(["badge", str(tmp_path / "none.json")]) == 2
