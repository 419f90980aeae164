"""Known deviations of a server, with reasons: a TOML file that its owner keeps.

    [[expect]]
    id = "top_p/ties-*"            # an id, a glob or a parameter, as for `--only`
    verdict = "NON-STRICT"         # optional; by default any verdict but PASS
    reason = "we sort, and cut ties by id"

A stale expectation fails the run: a check that passes although an entry covers it, and an entry
that matches no check, are complaints. Entries for checks that a run does not include are ignored.
"""

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from conformance.harness.registry import matches
from conformance.harness.result import Result
from conformance.verdicts import Verdict

# A check without a result does not contradict an entry. PASS has a complaint of its own.
NOT_MISMATCHED = (Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE, Verdict.PASS)


class Expectation(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    verdict: Verdict | None = None

    @field_validator("verdict")
    @classmethod
    def reject_pass(cls, verdict: Verdict | None) -> Verdict | None:
        if verdict is Verdict.PASS:
            raise ValueError("every check is expected to pass")
        return verdict

    def covers(self, identity: str) -> bool:
        return matches(identity, [self.id])

    def excuses(self, result: Result) -> bool:
        passes = result.verdict is Verdict.PASS
        return not passes and self.covers(result.id) and self.verdict in (None, result.verdict)


class Expectations(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    expect: list[Expectation] = []


def read(path: Path) -> list[Expectation]:
    """Read a file. Raises ValueError, which names the file, if it is not valid."""
    try:
        return Expectations.model_validate(tomllib.loads(path.read_text("utf-8"))).expect
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {format_problems(error)}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ValueError(f"{path}: {error}") from error


def format_problems(error: ValidationError) -> str:
    """Return the errors of a file on one line."""
    problems = [
        (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, "))
        for e in error.errors()
    ]
    return "; ".join(f"{where}: {what}" if where else what for where, what in problems)


def apply(
    results: Sequence[Result], expectations: Sequence[Expectation], left_out: Iterable[str] = ()
) -> tuple[list[Result], list[str]]:
    """Return the results with the reasons that excuse them, and the complaints.

    left_out: ids of checks that exist but are not part of this run.
    """
    complaints = []
    for entry in expectations:
        covered = [r for r in results if entry.covers(r.id)]
        if not covered and not any(map(entry.covers, left_out)):
            complaints.append(f"{entry.id}: the expectation matches no check")
        complaints += [
            f"{r.id}: passes, but was expected not to ({entry.reason})"
            for r in covered
            if r.verdict is Verdict.PASS
        ]
        complaints += [
            f"{r.id}: {r.verdict}, but was expected to be {entry.verdict}"
            for r in covered
            if entry.verdict and r.verdict not in (*NOT_MISMATCHED, entry.verdict)
        ]
    return [excused(r, expectations) for r in results], complaints


def excused(result: Result, expectations: Sequence[Expectation]) -> Result:
    """Return a result with the reason of the first entry that excuses it."""
    reason = next((e.reason for e in expectations if e.excuses(result)), None)
    return result.model_copy(update={"reason": reason})
