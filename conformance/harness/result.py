"""What a run found out, as data: reports are made of it, and JSON."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel, Field

from conformance.http.exchange import Exchange
from conformance.verdicts import Depth, Evidence, Level, Verdict

FINDINGS = frozenset({Verdict.FAIL, Verdict.NON_STRICT, Verdict.ERROR})


class Result(BaseModel):
    """One check of one server. note: the dialect, or why there is no verdict. at: the exchange that
    shows it. reason: of the expectation that excuses the verdict.
    """

    id: str
    parameter: str
    clause: str
    level: Level
    evidence: Evidence
    depth: Depth
    rests_on: str
    verdict: Verdict
    note: str = ""
    expected: str = ""
    seen: str = ""
    at: Exchange | None = None
    requests: int = 0
    seconds: float = 0.0
    reason: str | None = None

    @property
    def told(self) -> str:
        """The note, and what was seen in the place of what was expected."""
        seen = f"expected {self.expected}; saw {self.seen}" if self.expected else ""
        return ": ".join(part for part in (self.note, seen) if part)

    @property
    def finding(self) -> bool:
        """Whether it is neither as the contract says, nor excused, nor unknown."""
        return self.verdict in FINDINGS and self.reason is None


def tool_version() -> str:
    try:
        return version("completions-spec")
    except PackageNotFoundError:
        return "unknown"


class Report(BaseModel):
    """A run. server: its name in a comparison. complaints: what is wrong with the expectations."""

    server: str
    url: str
    model: str
    truth: str | None
    seed: int
    results: list[Result]
    complaints: list[str] = []
    requests: int = 0
    seconds: float = 0.0
    error_rate: float
    tool: str = Field(default_factory=tool_version)
    python: str = Field(default_factory=platform.python_version)
    started: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def ok(self) -> bool:
        return not self.complaints and not any(r.finding for r in self.results)

    def count(self, verdict: Verdict) -> int:
        return sum(r.verdict == verdict for r in self.results)

    @property
    def excused(self) -> int:
        """How many verdicts were expected."""
        return sum(r.reason is not None for r in self.results)
