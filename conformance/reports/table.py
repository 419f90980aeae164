"""Tables and lines on the terminal; in a pipe they have no colors."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from conformance.harness.registry import Check
from conformance.harness.result import Report, Result
from conformance.reports.printable import one_line
from conformance.verdicts import Verdict

COLORS = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.NON_STRICT: "yellow",
    Verdict.UNSUPPORTED: "blue",
    Verdict.INCONCLUSIVE: "dim",
    Verdict.NOT_APPLICABLE: "dim",
    Verdict.ERROR: "magenta",
}


def line(result: Result) -> str:
    """Render one result."""
    parts = [f"[{COLORS[result.verdict]}]{result.verdict}[/]", result.id]
    if result.explanation:
        parts.append(plain(result.explanation))
    if result.expected:
        parts.append(f"expected {plain(result.expected)}; saw {plain(result.seen)}")
    if result.reason is not None:
        parts.append(f"(expected: {plain(result.reason)})")
    return "  ".join(parts)


def plain(text: str) -> str:
    """Escape markup and control characters, and put a text on one line."""
    return escape(one_line(text))


def summary(report: Report) -> RenderableType:
    """Render a row for each parameter, then the shared causes, the complaints and the totals."""
    result = Table(title=plain(f"{report.server}, {report.model}"), title_justify="left")
    result.add_column("parameter", no_wrap=True)
    for verdict in Verdict:
        result.add_column(verdict, justify="right", style=COLORS[verdict])
    for parameter, results in by_parameter(report.results).items():
        counts = [sum(r.verdict is verdict for r in results) for verdict in Verdict]
        result.add_row(parameter, *(str(count or "") for count in counts))
    complaints = [Text(one_line(text, 500), style="red") for text in report.complaints]
    return Group(result, *map(Text, shared_causes(report)), *complaints, *totals(report))


def shared_causes(report: Report) -> list[str]:
    """Return a line for each reason why several checks have the same verdict."""
    groups = Counter((r.verdict, r.cause or r.note) for r in report.results if r.cause or r.note)
    return [
        f"{count} × {verdict}: {one_line(reason)}"
        for (verdict, reason), count in groups.most_common()
        if count > 1
    ]


def by_parameter(results: Sequence[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.parameter, []).append(result)
    return groups


def totals(report: Report) -> list[Text]:
    """Return the headline, and the number of checks with each verdict."""
    counts = ", ".join(f"{n} {v}" for v in Verdict if (n := report.count(v)))
    repeated = f", {report.repeated} more for the same causes" if report.repeated else ""
    as_expected = f" ({report.excused} of them expected)" if report.excused else ""
    details = (
        f"{len(report.results)} checks: {counts}{repeated}{as_expected}; "
        f"{report.requests} requests, {report.seconds} s, seed {report.seed}"
    )
    return [Text(report.headline, style="bold"), Text(details)]


def checks(selected: Sequence[Check]) -> Table:
    """Render a list of checks."""
    result = Table(box=None, pad_edge=False)
    for name in ("id", "level", "depth", "evidence", "clause"):
        result.add_column(name, no_wrap=name != "clause", overflow="fold")
    for check in selected:
        result.add_row(check.id, check.level, check.depth, check.evidence, escape(check.clause))
    return result


def comparison(reports: Sequence[Report]) -> Table:
    """Render the number of each verdict, with a column for each server."""
    result = Table()
    result.add_column("verdict")
    for report in reports:
        result.add_column(plain(report.server), justify="right")
    for verdict in Verdict:
        counts = [str(report.count(verdict)) for report in reports]
        result.add_row(verdict, *counts, style=COLORS[verdict])
    return result
