"""Reports of runs. A server may send any characters, which must stay text."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from junitparser import JUnitXml
from rich.console import Console

from conformance.harness.result import Report
from conformance.reports import html, junit, markdown, table
from conformance.reports.printable import one_line, printable
from conformance.verdicts import Verdict
from tests.conformance.factories import exchange, report, result, result_of_each_verdict

EVIL = "</pre><script>alert(1)</script>\" ' & | `x` *b* \0\x1b[31m\u202e\uffff"
HOSTILE = result(
    "top_p/evil",
    Verdict.FAIL,
    clause=EVIL,
    spec=EVIL,
    note=EVIL,
    expected=EVIL,
    seen=EVIL,
    reason=EVIL,
    at=exchange(response=EVIL, body=EVIL, url=f"http://a/{EVIL}"),
)
EVERYWHERE = report([HOSTILE], EVIL, model=EVIL, url=EVIL, truth=EVIL, complaints=[EVIL])
EMPTY = {"meta", "input"}


class Page(HTMLParser):
    """A parsed page: its tags, which must be balanced, its attributes and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def test_page_shows_all_results() -> None:
    request = exchange(body='{"top_p": 2}', response="no such thing", status=418)
    failed = result(
        "top_p/two", Verdict.FAIL, note="a note", expected="this", seen="that", at=request
    )
    known = result("seed/three", Verdict.ERROR, reason="we know", requests=3)
    page = Page(html.page([report([failed, known], seed=7, complaints=["stale"], requests=9)]))
    for text in (
        *("one", "tiny", "seed 7", "9 requests", "0.0001", "stale", "top_p", "seed", "FAIL"),
        *("top_p/two", "The requirement.", "MUST", "exact", "protocol", "logits.top_p", "a note"),
        *("this", "that", request.curl, "418", "no such thing", "we know", "3 requests"),
    ):
        assert text in page.text, text


@pytest.mark.parametrize("runs", [[EVERYWHERE], [EVERYWHERE, report(result_of_each_verdict())]])
def test_page_is_self_contained_and_inert(runs: list[Report]) -> None:
    text = html.page(runs)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {*page.tags}
    assert not {"src", "action", "data"} & page.attributes
    assert all(target.startswith("#") for target in page.links)
    assert not any(name.startswith("on") for name in page.attributes)
    assert "url(" not in text and "@import" not in text
    assert "<script>alert(1)</script>" in page.text  # as text
    assert not set("\0\x1b\u202e\uffff") & set(text)


def test_page_has_a_link_to_each_check() -> None:
    page = Page(html.page([report(result_of_each_verdict())]))
    ids = [r.id for r in result_of_each_verdict()]
    assert page.links == [f"#{i}" for i in ids] and set(ids) <= set(page.ids)


def test_cause_is_counted_once_in_each_report() -> None:
    cause = {"cause": "top_p is ignored"}
    first = result("top_p/a", Verdict.FAIL, **cause)
    second = result("top_p/b", Verdict.FAIL, same_as="top_p/a", **cause)
    run = report([first, second, result("top_p/c"), result("data/d", Verdict.NOT_APPLICABLE)])
    assert run.headline == "1 checks pass, 1 finding; 1 not applicable" and not run.ok
    assert run.headline in Page(html.page([run])).text
    [suite, _] = JUnitXml.fromstring(junit.document(run))
    assert (suite.failures, suite.skipped) == (1, 1)
    console = Console(record=True, width=200)
    console.print(table.summary(run))
    text = console.export_text()
    assert "2 × FAIL: top_p is ignored" in text and "1 more for the same causes" in text
    assert "top\\_p is ignored: see top\\_p/a" in markdown.page([run])


def test_perfect_run_reads_as_perfect() -> None:
    run = report([result(), result("data/a", Verdict.NOT_APPLICABLE)])
    assert run.headline == "1 checks pass, no findings; 1 not applicable" and run.ok


def test_backticks_become_code() -> None:
    text = html.page([report([result(clause="`<a>` comes before <b>.")])])
    assert "<code>&lt;a&gt;</code> comes before &lt;b&gt;." in text


def test_verdict_has_word_mark_and_color() -> None:
    text = html.page([report(result_of_each_verdict())])
    for verdict in Verdict:
        kind = html.kind(verdict)
        mark = re.escape(html.MARKS[verdict])
        assert re.search(rf'class="pill {kind}"\s*><i[^>]*>{mark}</i>{verdict}<', text)
        assert f".{kind} {{ --tone:" in text
        assert f"--{kind}: #" in text
    assert len(set(html.MARKS.values())) == len(Verdict)


def cells(text: str, identity: str) -> list[str]:
    """Return the cells in the row of a check, one for each server."""
    row = text[text.index(f">{identity}</code>") :]
    spans = re.findall(
        r'<span class="cell">(.*?)</span>\s*(?=<span class="cell">|</summary>)', row, re.S
    )
    count = row[: row.index("</summary>")].count('class="cell"')
    return [re.sub(r"<[^>]*>|\s", "", cell) for cell in spans[:count]]


def test_runs_are_shown_side_by_side() -> None:
    one = report([result("top_p/a"), result("top_p/b", Verdict.FAIL)])
    two = report([result("top_p/c", Verdict.ERROR), result("top_p/a", Verdict.UNSUPPORTED)], "two")
    text = html.page([one, two])
    assert cells(text, "top_p/a") == ["✓PASS", "–UNSUPPORTED"]
    assert cells(text, "top_p/b") == ["✕FAIL", ""]
    assert cells(text, "top_p/c") == ["", "!ERROR"]


def test_junit_case_for_each_verdict() -> None:
    known = result("seed/known", Verdict.FAIL, reason="we know")
    text = junit.document(report([*result_of_each_verdict(), known], complaints=["stale"]))
    suites = {suite.name: suite for suite in JUnitXml.fromstring(text)}
    ends = {c.name: [type(r).__name__ for r in c.result] for s in suites.values() for c in s}
    assert ends == {
        "top_p/pass": [],
        "top_p/fail": ["Failure"],
        "top_p/non-strict": ["Failure"],
        "top_p/unsupported": ["Skipped"],
        "top_p/inconclusive": ["Skipped"],
        "top_p/not-applicable": ["Skipped"],
        "top_p/error": ["Error"],
        "seed/known": ["Skipped"],
        "stale": ["Failure"],
    }
    assert [*suites] == ["top_p", "seed", "expectations"]
    top_p = suites["top_p"]
    assert (top_p.tests, top_p.failures, top_p.errors, top_p.skipped) == (7, 2, 1, 3)
    [reason] = next(iter(suites["seed"])).result
    assert "we know" in reason.message


def test_junit_escapes_invalid_xml() -> None:
    failed = HOSTILE.model_copy(update={"reason": None})
    root = ElementTree.fromstring(
        junit.document(report([failed, HOSTILE], EVIL, complaints=[EVIL]))
    )
    [failure] = root.findall("testsuite[1]/testcase[1]/failure")
    assert "alert(1)" in (failure.text or "") and "\\x00" in (failure.text or "")


def test_markdown_is_a_table_with_notes() -> None:
    failed = result("top_p/b", Verdict.FAIL, expected="this", seen="a|b\n<i>")
    known = result("top_p/b", Verdict.NON_STRICT, note="cut by rank", reason="we know")
    text = markdown.page([report([result("top_p/a"), failed]), report([known], "two")])
    assert "| top\\_p/a | PASS |  |\n" in text
    assert "| top\\_p/b | FAIL <sup>1</sup> | NON-STRICT (expected) <sup>2</sup> |\n" in text
    assert "\n1. top\\_p/b, one: expected this; saw a\\|b\\\\n\\<i\\>\n" in text
    assert "\n2. top\\_p/b, two: cut by rank; expected: we know\n" in text


def test_markdown_keeps_its_shape() -> None:
    text = markdown.page([EVERYWHERE, report(result_of_each_verdict())])
    assert "<script" not in text.replace("\\<script", "")
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        columns = [len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()]
        assert len(set(columns)) == 1


def test_line_is_not_styled_by_server_text() -> None:
    console = Console(highlight=False, emoji=False, force_terminal=True, width=1000)
    evil = result("top_p/evil", Verdict.FAIL, note="[red]\n\x1b[2J :x: ", seen="b", expected="a")
    with console.capture() as captured:
        console.print(table.line(evil), soft_wrap=True)
    text = captured.get()
    assert text.count("\n") == 1 and "\x1b[2J" not in text
    assert "[red]\\n\\x1b[2J :x: " in text and "expected a; saw b" in text


def test_unprintable_characters_are_escaped() -> None:
    assert printable("a\n\0\x1b\u202e\ud800é\U0001f600") == "a\n\\x00\\x1b\\u202e\\ud800é\U0001f600"
    assert one_line("a\nb" + "x" * 300, 5) == "a\\nbx…"


def test_report_survives_json() -> None:
    known = result("seed/known", Verdict.FAIL, reason="we know", at=exchange(response=EVIL))
    original = report([*result_of_each_verdict(), HOSTILE, known], complaints=["stale"])
    restored = Report.model_validate_json(original.model_dump_json(indent=1))
    assert restored == original and restored.ok is original.ok is False
    assert html.page([restored]) == html.page([original])
