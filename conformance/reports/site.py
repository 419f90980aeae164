"""A static site of the results of several servers: an overview of servers and parameters, in which
each cell leads to the details of that server and parameter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.harness.registry import all_checks
from conformance.harness.result import FINDINGS, Report, Result
from conformance.reports import html, recorded
from conformance.reports.html import MARKS, MEANINGS, environment
from conformance.verdicts import Verdict
from reference.params import SPEC_VERSION

RESULTS = "results"  # the directory of the recorded reports
# A cell shows the first of these that occurs.
SEVERITY = (
    *(Verdict.ERROR, Verdict.FAIL, Verdict.NON_STRICT, Verdict.PASS),
    *(Verdict.UNSUPPORTED, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE),
)


@dataclass(frozen=True)
class Cell:
    """The results of a server's checks of one parameter."""

    verdict: Verdict
    results: tuple[Result, ...]

    @property
    def passed(self) -> int:
        return sum(r.verdict is Verdict.PASS for r in self.results)

    @property
    def decided(self) -> int:
        """The number of checks that pass or have a finding."""
        return self.passed + sum(r.verdict in FINDINGS for r in self.results)

    @property
    def text(self) -> str:
        return f"{self.passed}/{self.decided}" if self.decided else ""

    @property
    def description(self) -> str:
        counts = [(v, sum(r.verdict is v for r in self.results)) for v in Verdict]
        return ", ".join(f"{count} {verdict}" for verdict, count in counts if count)


def cell(report: Report, parameter: str) -> Cell | None:
    """Return the results of a parameter; None if none of its checks was run."""
    results = tuple(r for r in report.results if r.parameter == parameter)
    seen = {r.verdict for r in results}
    return Cell(next(v for v in SEVERITY if v in seen), results) if results else None


def update(directory: Path, runs: Sequence[tuple[str, Report]], order: Sequence[str]) -> int:
    """Record runs in a site, by their names, and write its pages. Return the number of servers.

    A run without results does not replace one with results: its reason is shown with the old ones.
    """
    results = directory / RESULTS
    results.mkdir(parents=True, exist_ok=True)
    for name, report in runs:
        file = results / f"{name}.json"
        if not report.results and file.exists():
            earlier = recorded.restore(file.read_text("utf-8"))
            if earlier.results:
                reason = f"{report.started[:10]}: {report.about.get('not run', 'no result')}"
                about = earlier.about | {"last attempt": reason}
                report = earlier.model_copy(update={"about": about})
        file.write_text(recorded.compact(report), "utf-8")
    reports = read(directory, order)
    for name, report in reports.items():
        (directory / f"{name}.html").write_text(html.page([report], "index.html"), "utf-8")
    (directory / "index.html").write_text(index(reports), "utf-8")
    return len(reports)


def read(directory: Path, order: Sequence[str] = ()) -> dict[str, Report]:
    """Return the recorded reports by name: first those of `order`. Raises ValueError with the file
    that is not a report.
    """
    reports = {}
    for file in sorted((directory / RESULTS).glob("*.json")):
        try:
            reports[file.stem] = recorded.restore(file.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
    names = [name for name in order if name in reports]
    return {name: reports[name] for name in [*names, *sorted(set(reports) - set(names))]}


def index(reports: Mapping[str, Report]) -> str:
    """Return the overview: a row for each parameter, a column for each server."""
    parameters = list(dict.fromkeys(check.parameter for check in all_checks()))
    rows = [(name, [cell(report, name) for report in reports.values()]) for name in parameters]
    return (
        environment()
        .get_template("site.html.jinja")
        .render(
            reports=reports,
            rows=[row for row in rows if any(row[1])],
            spec=SPEC_VERSION,
            verdicts=list(Verdict),
            marks=MARKS,
            meanings=MEANINGS,
        )
    )
