"""Several runs, check by check and side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.harness.result import Report, Result
from conformance.verdicts import Verdict


@dataclass(frozen=True)
class Row:
    """A check in several runs.

    results: one for each run, None where the run does not include the check. check: any of them.
    """

    check: Result
    results: list[Result | None]

    @property
    def all_pass(self) -> bool:
        """Return whether the check passes in each run that includes it and to which it applies."""
        quiet = (Verdict.PASS, Verdict.NOT_APPLICABLE)
        return all(r is None or r.verdict in quiet for r in self.results)


@dataclass(frozen=True)
class Group:
    """The checks of a parameter."""

    parameter: str
    rows: list[Row]

    @property
    def all_pass(self) -> bool:
        return all(row.all_pass for row in self.rows)

    @property
    def has_finding(self) -> bool:
        """Return whether there is a finding that no expectation excuses."""
        return any(r is not None and r.finding for row in self.rows for r in row.results)

    def counts(self, run: int) -> list[tuple[Verdict, int]]:
        """Return the number of checks with each verdict that occurs in a run."""
        results = [row.results[run] for row in self.rows]
        counts = [(v, sum(r is not None and r.verdict is v for r in results)) for v in Verdict]
        return [(verdict, count) for verdict, count in counts if count]


def groups(reports: Sequence[Report]) -> list[Group]:
    """Group checks by parameter, in the order of the first run, then of the later ones."""
    runs = [{result.id: result for result in report.results} for report in reports]
    checks = {name: result for run in reversed(runs) for name, result in run.items()}
    rows: dict[str, list[Row]] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        row = Row(checks[name], [run.get(name) for run in runs])
        rows.setdefault(row.check.parameter, []).append(row)
    return [Group(parameter, members) for parameter, members in rows.items()]
