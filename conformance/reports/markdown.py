"""Markdown for documents: a table of verdicts for each parameter, and notes on the other checks."""

import re
from collections.abc import Sequence

from conformance.harness.result import Report, Result
from conformance.reports.printable import one_line
from conformance.reports.view import Group, Row, groups
from conformance.verdicts import Verdict

SPECIAL = re.compile(r"([\\`*_\[\]<>|&~#$])")


def page(reports: Sequence[Report]) -> str:
    return "\n".join([head(reports), *(section(group, reports) for group in groups(reports))])


def head(reports: Sequence[Report]) -> str:
    """Return the table of runs with their counts of verdicts, and the complaints."""
    names = ("server", "model", "weights", "tool", "date", *Verdict)
    rows = [
        [plain(text) for text in (r.server, r.model, r.truth or "", r.tool, r.started[:10])]
        + [str(r.count(verdict)) for verdict in Verdict]
        for r in reports
    ]
    complaints = [f"- {plain(r.server)}: {plain(c)}" for r in reports for c in r.complaints]
    return table(names, rows) + bullets(complaints)


def section(group: Group, reports: Sequence[Report]) -> str:
    notes: list[str] = []
    names = ("check", *(plain(report.server) for report in reports))
    rows = [[plain(row.check.id), *cells(row, reports, notes)] for row in group.rows]
    return f"## {plain(group.parameter)}\n\n{table(names, rows)}{bullets(notes)}"


def cells(row: Row, reports: Sequence[Report], notes: list[str]) -> list[str]:
    """Return a verdict for each server with the number of its note, and append it to `notes`."""
    texts = []
    for report, result in zip(reports, row.results, strict=True):
        text = cell(result) if result else ""
        if result and (reason := note(result)):
            where = f"{plain(row.check.id)}, {plain(report.server)}"
            notes.append(f"{len(notes) + 1}. {where}: {reason}")
            text += f" <sup>{len(notes)}</sup>"
        texts.append(text)
    return texts


def cell(result: Result) -> str:
    return f"{result.verdict} (expected)" if result.reason is not None else str(result.verdict)


def note(result: Result) -> str:
    """Return the deviation or the actual value of a check that does not pass, and its excuse."""
    seen = (
        f"expected {one_line(result.expected)}; saw {one_line(result.seen)}"
        if result.expected
        else ""
    )
    if result.same_as is not None:
        return plain(f"{result.cause}: see {result.same_as}", 500)
    known = result.explanation or seen
    excuse = f"expected: {result.reason}" if result.reason is not None else ""
    return "; ".join(plain(part, 500) for part in (known, excuse) if part)


def plain(text: str, max_chars: int = 200) -> str:
    """Escape Markdown, and put a text on one line."""
    return SPECIAL.sub(r"\\\1", one_line(text, max_chars))


def bullets(items: Sequence[str]) -> str:
    """Return list items below a table."""
    return "".join(f"{item}\n" for item in ("", *items)) if items else ""


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Build a table from cells that are Markdown already."""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(items)} |\n" for items in lines)
