"""Whether an answer is the same, bit for bit, alone, in a crowd, found in the cache, and given in
a place so tight that requests have to give way to each other.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from conformance.parity.harness.requests import Answer, Engine, collect
from reference.request import Request

_strangers = itertools.count()


class Difference(AssertionError):
    """An answer that depends on what else goes on."""


def check(roomy: Engine, tight: Engine, crowd: Sequence[Request]) -> int:
    """Answer a crowd together, then each request alone: with its prompt cached, and as a stranger
    whom no cache knows; then together again where pages are few. Returns how many answers were
    compared. Raises Difference.
    """
    together = collect(roomy, crowd)
    answers = {
        "cached": [collect(roomy, [r])[0] for r in crowd],
        "alone": [collect(roomy, [stranger(r)])[0] for r in crowd],
        "in a tight place": collect(tight, crowd),
    }
    for circumstance, others in answers.items():
        for request, answer, other in zip(crowd, together, others, strict=True):
            differ(request, answer, other, circumstance)
    return len(crowd)


def stranger(request: Request) -> Request:
    """The same request of somebody who never asked before."""
    return replace(request, principal=f"stranger {next(_strangers)}")


def differ(request: Request, answer: Answer, other: Answer, circumstance: str) -> None:
    """Raises Difference unless both are answers, and the same."""
    if answer.error or other.error or answer.content != other.content:
        raise Difference(
            f"{request}\nin a crowd: {answer.content}\n{circumstance}: {other.content}"
        )
