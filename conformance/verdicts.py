"""What can be said of a server, and how a check says it."""

from enum import StrEnum
from typing import Any, ClassVar

from conformance.http.exchange import Exchange


class Level(StrEnum):
    """How much a clause binds, as in RFC 2119. Each is checked alike; a reader weighs them."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Evidence(StrEnum):
    """Exact: one answer is right. Metamorphic: two answers must agree. Statistical: samples are
    held against a distribution, and a server that conforms fails with a stated small probability.
    """

    EXACT = "exact"
    METAMORPHIC = "metamorphic"
    STATISTICAL = "statistical"


class Depth(StrEnum):
    """Protocol: shapes and statuses. Self-consistency: answers against each other. Truth: answers
    against the reference, which has the same weights.
    """

    PROTOCOL = "protocol"
    CONSISTENCY = "self-consistency"
    TRUTH = "truth"


class Verdict(StrEnum):
    """PASS: the clause holds, as far as was looked. FAIL: it does not. NON-STRICT: it does not, in
    a way that is known of other engines and named. UNSUPPORTED: the server refuses the parameter or
    lacks what the check needs. INCONCLUSIVE: nothing was found out. ERROR: the server broke, or did
    not answer.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    NON_STRICT = "NON-STRICT"
    UNSUPPORTED = "UNSUPPORTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


class Outcome(Exception):
    """How a check ends that does not pass. at: the exchange that shows it."""

    verdict: ClassVar[Verdict]

    def __init__(self, note: str, *, at: Exchange | None = None) -> None:
        super().__init__(note)
        self.note, self.at = note, at
        self.expected = self.seen = ""


class Failed(Outcome):
    """The clause does not hold: what was expected, and what was seen instead."""

    verdict = Verdict.FAIL

    def __init__(
        self, expected: str, seen: Any, *, note: str = "", at: Exchange | None = None
    ) -> None:
        super().__init__(note, at=at)
        self.expected, self.seen = expected, seen if isinstance(seen, str) else repr(seen)

    def __str__(self) -> str:
        return f"expected {self.expected}, saw {self.seen} {self.note}".strip()


class NonStrict(Failed):
    """The clause does not hold, and how is known: `note` names the dialect."""

    verdict = Verdict.NON_STRICT


class Unsupported(Outcome):
    """The server refuses this, or cannot show it."""

    verdict = Verdict.UNSUPPORTED


class Inconclusive(Outcome):
    """Nothing could be found out, through no fault of the server."""

    verdict = Verdict.INCONCLUSIVE


class Broken(Outcome):
    """The server broke, or did not answer."""

    verdict = Verdict.ERROR
