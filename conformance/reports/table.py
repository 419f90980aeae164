"""On the terminal, or in a pipe: then without colours, and a line for each thing that is told."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from conformance.harness.registry import Check
from conformance.harness.result import Report, Result
from conformance.reports.shown import line as one_line
from conformance.verdicts import Verdict

COLOURS = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.NON_STRICT: "yellow",
    Verdict.UNSUPPORTED: "blue",
    Verdict.INCONCLUSIVE: "dim",
    Verdict.ERROR: "magenta",
}


def line(result: Result) -> str:
    """One result, with what it was found by."""
    parts = [f"[{COLOURS[result.verdict]}]{result.verdict}[/]", result.id]
    if result.note:
        parts.append(plain(result.note))
    if result.expected:
        parts.append(f"expected {plain(result.expected)}; saw {plain(result.seen)}")
    if result.reason is not None:
        parts.append(f"(expected: {plain(result.reason)})")
    return "  ".join(parts)


def plain(text: str) -> str:
    """Text that means nothing to a terminal."""
    return escape(one_line(text))


def summary(report: Report) -> RenderableType:
    """A row for each parameter, then what is wrong with the expectations, then the sum."""
    result = Table(title=plain(f"{report.server}, {report.model}"), title_justify="left")
    result.add_column("parameter", no_wrap=True)
    for verdict in Verdict:
        result.add_column(verdict, justify="right", style=COLOURS[verdict])
    for parameter, found in by_parameter(report.results).items():
        counts = [sum(r.verdict is verdict for r in found) for verdict in Verdict]
        result.add_row(parameter, *(str(count or "") for count in counts))
    complaints = [Text(one_line(text, 500), style="red") for text in report.complaints]
    return Group(result, *complaints, Text(sentence(report)))


def by_parameter(results: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.parameter, []).append(result)
    return found


def sentence(report: Report) -> str:
    counts = ", ".join(f"{n} {v}" for v in Verdict if (n := report.count(v)))
    as_expected = f" ({report.excused} of them expected)" if report.excused else ""
    return (
        f"{len(report.results)} checks: {counts}{as_expected}; {report.requests} requests, "
        f"{report.seconds} s, seed {report.seed}"
    )


def checks(found: Sequence[Check]) -> Table:
    result = Table(box=None, pad_edge=False)
    for name in ("id", "level", "depth", "evidence", "clause"):
        result.add_column(name, no_wrap=name != "clause", overflow="fold")
    for check in found:
        result.add_row(check.id, check.level, check.depth, check.evidence, escape(check.clause))
    return result


def comparison(reports: Sequence[Report]) -> Table:
    """A column for each server."""
    result = Table()
    result.add_column("verdict")
    for report in reports:
        result.add_column(plain(report.server), justify="right")
    for verdict in Verdict:
        counts = [str(report.count(verdict)) for report in reports]
        result.add_row(verdict, *counts, style=COLOURS[verdict])
    return result
