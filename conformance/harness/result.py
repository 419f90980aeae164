"""The results of a run as data, from which reports and JSON files are written."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import BaseModel, Field

from conformance.http.exchange import Exchange
from conformance.verdicts import Depth, Evidence, Level, Verdict
from reference.params import SPEC_VERSION

FINDINGS = frozenset({Verdict.FAIL, Verdict.NON_STRICT, Verdict.ERROR})
REMAINDERS = {
    Verdict.UNSUPPORTED: "refused or not supported",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_APPLICABLE: "not applicable",
}


class Result(BaseModel):
    """The result of one check of one server.

    note: the dialect, or why the check has no verdict. cause: what it shares with other checks,
    such as a parameter that is ignored. same_as: the check that reports this cause first, None for
    itself. at: the exchange that shows it. reason: that of the expectation that excuses the
    verdict.
    """

    id: str
    parameter: str
    clause: str
    level: Level
    evidence: Evidence
    depth: Depth
    spec: str
    verdict: Verdict
    note: str = ""
    cause: str = ""
    same_as: str | None = None
    expected: str = ""
    seen: str = ""
    at: Exchange | None = None
    requests: int = 0
    seconds: float = 0.0
    reason: str | None = None

    @property
    def summary(self) -> str:
        """The note, and the expected and the actual value."""
        seen = f"expected {self.expected}; saw {self.seen}" if self.expected else ""
        return ": ".join(part for part in (self.explanation, seen) if part)

    @property
    def explanation(self) -> str:
        """The cause and the note, without repetition."""
        parts = (self.cause, self.note) if self.cause not in self.note else (self.note,)
        return "; ".join(part for part in parts if part)

    @property
    def finding(self) -> bool:
        """Return whether the server deviates from the contract and no expectation excuses it.

        A cause is one finding, however many checks fail for it.
        """
        return self.verdict in FINDINGS and self.reason is None and self.same_as is None


def tool_version() -> str:
    try:
        return version("completions-spec")
    except PackageNotFoundError:
        return "unknown"


class Report(BaseModel):
    """The results of a run.

    server: its name in a comparison. about: what else is known of it, such as its version; "not
    run" is the reason why there is no result. fingerprint: the server's `system_fingerprint`.
    truth_digest: identifies the weights of --truth. deviation: the largest difference of a log-
    probability that the preflight measured. tolerance: that of the checks against the reference.
    options: those that select checks or limit the run. complaints: expectations that are stale or
    match no check. spec: the version of the specification.
    """

    server: str
    about: dict[str, str] = {}
    url: str
    model: str
    fingerprint: str | None = None
    truth: str | None
    truth_digest: str | None = None
    deviation: float | None = None
    tolerance: float | None = None
    options: dict[str, Any] = {}
    seed: int
    results: list[Result]
    complaints: list[str] = []
    requests: int = 0
    seconds: float = 0.0
    error_rate: float
    spec: str = SPEC_VERSION
    tool: str = Field(default_factory=tool_version)
    python: str = Field(default_factory=platform.python_version)
    started: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def ok(self) -> bool:
        return not self.complaints and not any(r.finding for r in self.results)

    def count(self, verdict: Verdict) -> int:
        """Return the number of checks with a verdict. Those of one cause count once."""
        return sum(r.verdict == verdict and r.same_as is None for r in self.results)

    @property
    def repeated(self) -> int:
        """The number of checks that fail for the cause of another one."""
        return sum(r.same_as is not None for r in self.results)

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        findings = sum(r.finding for r in self.results)
        passed, rest = self.count(Verdict.PASS), []
        for verdict, words in REMAINDERS.items():
            if number := self.count(verdict):
                rest.append(f"{number} {words}")
        plural = "" if findings == 1 else "s"
        head = f"{passed} checks pass, {findings or 'no'} finding{plural}"
        return "; ".join([head, *rest])

    @property
    def excused(self) -> int:
        """The number of verdicts that an expectation excuses."""
        return sum(r.reason is not None for r in self.results)
