"""The verdicts on a server, and the exceptions with which a check reports them."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from conformance.http.exchange import Exchange


class Level(StrEnum):
    """The requirement level of a clause, as in RFC 2119. All levels are checked alike."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Evidence(StrEnum):
    """The kind of test.

    Exact: only one result is right. Metamorphic: two results must agree. Statistical: samples are
    tested against a distribution, and a conforming server fails with a stated small probability.
    """

    EXACT = "exact"
    METAMORPHIC = "metamorphic"
    STATISTICAL = "statistical"


class Depth(StrEnum):
    """The source of the expected result.

    Protocol: shapes and statuses. Self-consistency: other completions of the same server. Truth:
    the reference with the same weights.
    """

    PROTOCOL = "protocol"
    CONSISTENCY = "self-consistency"
    TRUTH = "truth"


class Verdict(StrEnum):
    """The result of a check.

    PASS: the clause holds in all cases tried. FAIL: it does not. NON-STRICT: it does not, in a way
    that is known from other engines and has a name. UNSUPPORTED: the server refuses the parameter
    or lacks what the check needs. INCONCLUSIVE: the check could not decide. NOT-APPLICABLE: the
    clause does not concern this server or this run. ERROR: the server failed or did not respond.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    NON_STRICT = "NON-STRICT"
    UNSUPPORTED = "UNSUPPORTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_APPLICABLE = "NOT-APPLICABLE"
    ERROR = "ERROR"


class Outcome(Exception):
    """The end of a check that does not pass. at: the exchange that shows it. suspects: parameters
    that the server may ignore, which would explain it. compares_texts: whether two answers have
    different texts. cause: what it shares with other checks.
    """

    verdict: ClassVar[Verdict]

    def __init__(self, note: str, *, at: "Exchange | None" = None) -> None:
        super().__init__(note)
        self.note, self.at = note, at
        self.expected = self.seen = self.cause = ""
        self.suspects: tuple[str, ...] = ()
        self.compares_texts = False


class Failed(Outcome):
    """The clause does not hold. expected, seen: the required and the actual value."""

    verdict = Verdict.FAIL

    def __init__(
        self, expected: str, seen: Any, *, note: str = "", at: "Exchange | None" = None
    ) -> None:
        super().__init__(note, at=at)
        self.expected, self.seen = expected, seen if isinstance(seen, str) else repr(seen)

    def __str__(self) -> str:
        return f"expected {self.expected}, saw {self.seen} {self.note}".strip()


class NonStrict(Failed):
    """The clause does not hold in a known way, which `note` names."""

    verdict = Verdict.NON_STRICT


class Unsupported(Outcome):
    """The server refuses the request, or lacks a capability."""

    verdict = Verdict.UNSUPPORTED


class Inconclusive(Outcome):
    """The check has no result, for a reason that is not the server's fault."""

    verdict = Verdict.INCONCLUSIVE


class NotApplicable(Outcome):
    """The clause does not concern this server, or needs an option that the run does not have."""

    verdict = Verdict.NOT_APPLICABLE


class ServerError(Outcome):
    """The server failed, or did not respond."""

    verdict = Verdict.ERROR
