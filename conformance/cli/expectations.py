"""What is known to differ, and why: a TOML file that is kept beside a server.

    [[expect]]
    id = "top_p/ties-*"            # an exact id, a glob, or a parameter: as `--only` takes it
    verdict = "NON-STRICT"         # may be left out: any verdict but PASS
    reason = "we sort, and cut ties by id"

An expectation goes stale loudly: a check that passes although it was expected not to, and an entry
that matches no check, are complaints, and the run fails. Of checks that a run leaves out nothing is
known, and nothing is said.
"""

import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from conformance.harness.registry import matches
from conformance.harness.result import Result
from conformance.verdicts import Verdict

# Of these one says nothing of an entry that is not so, the other is told in its own words.
UNTOLD = (Verdict.INCONCLUSIVE, Verdict.PASS)


class Expectation(BaseModel):
    """One entry. Nothing is expected to pass: that is the rule."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    verdict: Verdict | None = None

    @field_validator("verdict")
    @classmethod
    def is_no_pass(cls, verdict: Verdict | None) -> Verdict | None:
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
    """Raises ValueError, naming the file, for what is no such file."""
    try:
        return Expectations.model_validate(tomllib.loads(path.read_text("utf-8"))).expect
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(f"{path}: {problems(error)}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ValueError(f"{path}: {error}") from error


def problems(error: ValidationError) -> str:
    """What is wrong with a file, on one line."""
    found = [
        (".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, "))
        for e in error.errors()
    ]
    return "; ".join(f"{where}: {what}" if where else what for where, what in found)


def apply(
    results: Sequence[Result], expectations: Sequence[Expectation], left_out: Iterable[str] = ()
) -> tuple[list[Result], list[str]]:
    """The results, with the reason of the entry that excuses each, and the complaints. left_out:
    ids of checks that there are, but not in this run.
    """
    complaints = []
    for entry in expectations:
        covered = [r for r in results if entry.covers(r.id)]
        if not covered and not any(map(entry.covers, left_out)):
            complaints.append(f"{entry.id}: the expectation matches no check")
        complaints += [
            f"{r.id}: passes, and was expected not to ({entry.reason})"
            for r in covered
            if r.verdict is Verdict.PASS
        ]
        complaints += [
            f"{r.id}: {r.verdict}, and was expected to be {entry.verdict}"
            for r in covered
            if entry.verdict and r.verdict not in (*UNTOLD, entry.verdict)
        ]
    return [excused(r, expectations) for r in results], complaints


def excused(result: Result, expectations: Sequence[Expectation]) -> Result:
    """A result, with the reason of the first entry that excuses it."""
    reason = next((e.reason for e in expectations if e.excuses(result)), None)
    return result.model_copy(update={"reason": reason})
