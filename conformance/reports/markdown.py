"""For documents: a table of verdicts for each parameter, and notes on what does not pass."""

import re
from collections.abc import Sequence

from conformance.harness.result import Report, Result
from conformance.reports.shown import line
from conformance.reports.view import Group, Row, groups
from conformance.verdicts import Verdict

SPECIAL = re.compile(r"([\\`*_\[\]<>|&~#$])")


def page(reports: Sequence[Report]) -> str:
    return "\n".join([head(reports), *(section(group, reports) for group in groups(reports))])


def head(reports: Sequence[Report]) -> str:
    """What was run, and what came of it."""
    names = ("server", "model", "weights", "tool", "date", *Verdict)
    rows = [
        [plain(text) for text in (r.server, r.model, r.truth or "", r.tool, r.started[:10])]
        + [str(r.count(verdict)) for verdict in Verdict]
        for r in reports
    ]
    complaints = [f"- {plain(r.server)}: {plain(c)}" for r in reports for c in r.complaints]
    return table(names, rows) + listed(complaints)


def section(group: Group, reports: Sequence[Report]) -> str:
    notes: list[str] = []
    names = ("check", *(plain(report.server) for report in reports))
    rows = [[plain(row.check.id), *cells(row, reports, notes)] for row in group.rows]
    return f"## {plain(group.parameter)}\n\n{table(names, rows)}{listed(notes)}"


def cells(row: Row, reports: Sequence[Report], notes: list[str]) -> list[str]:
    """A verdict for each server, with the number of the note that tells of it, which is added."""
    found = []
    for report, result in zip(reports, row.results, strict=True):
        text = cell(result) if result else ""
        if result and (told := note(result)):
            where = f"{plain(row.check.id)}, {plain(report.server)}"
            notes.append(f"{len(notes) + 1}. {where}: {told}")
            text += f" <sup>{len(notes)}</sup>"
        found.append(text)
    return found


def cell(result: Result) -> str:
    return f"{result.verdict} (expected)" if result.reason is not None else str(result.verdict)


def note(result: Result) -> str:
    """One line on what does not pass: what is known of it, or what was seen; and the excuse."""
    seen = f"expected {line(result.expected)}; saw {line(result.seen)}" if result.expected else ""
    known = result.note or seen
    excuse = f"expected: {result.reason}" if result.reason is not None else ""
    return "; ".join(plain(part, 500) for part in (known, excuse) if part)


def plain(text: str, most: int = 200) -> str:
    """Text that means nothing to Markdown, on one line."""
    return SPECIAL.sub(r"\\\1", line(text, most))


def listed(items: Sequence[str]) -> str:
    """Below a table."""
    return "".join(f"{item}\n" for item in ("", *items)) if items else ""


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Of items that are Markdown already."""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(items)} |\n" for items in lines)
