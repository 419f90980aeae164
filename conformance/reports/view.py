"""Several runs, check by check and side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.harness.result import Report, Result
from conformance.verdicts import Verdict


@dataclass(frozen=True)
class Row:
    """results: one for each run, None where it has no such check. check: any of them."""

    check: Result
    results: list[Result | None]

    @property
    def quiet(self) -> bool:
        """Whether it passes wherever it was run."""
        return all(r is None or r.verdict is Verdict.PASS for r in self.results)


@dataclass(frozen=True)
class Group:
    """The checks of a parameter."""

    parameter: str
    rows: list[Row]

    @property
    def quiet(self) -> bool:
        return all(row.quiet for row in self.rows)

    @property
    def alarming(self) -> bool:
        """Whether there is a finding that nobody expected."""
        return any(r is not None and r.finding for row in self.rows for r in row.results)

    def counts(self, run: int) -> list[tuple[Verdict, int]]:
        """How many there are of each verdict in a run; none of 0."""
        found = [row.results[run] for row in self.rows]
        counts = [(v, sum(r is not None and r.verdict is v for r in found)) for v in Verdict]
        return [(verdict, count) for verdict, count in counts if count]


def groups(reports: Sequence[Report]) -> list[Group]:
    """In the order of the first run; what only later ones have comes last."""
    runs = [{result.id: result for result in report.results} for report in reports]
    checks = {name: result for run in reversed(runs) for name, result in run.items()}
    found: dict[str, list[Row]] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        row = Row(checks[name], [run.get(name) for run in runs])
        found.setdefault(row.check.parameter, []).append(row)
    return [Group(parameter, rows) for parameter, rows in found.items()]
