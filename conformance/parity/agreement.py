"""Whether the reference could have given an answer that a backend gave.

Token by token: the reference is shown what the backend chose, asks whether that is its own choice,
or would be if the logits were off by the tolerance, and goes on from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conformance.parity.requests import Answer
from reference import sampler
from reference.generate import generate
from reference.logits import Logits
from reference.model import Model
from reference.request import Prompt, Report, Request, Token

# Of a logit, and so of a log-probability, in float32: along the longest path through a small model
# a few hundred roundings of 2⁻²⁴ each, of values below 32, add up to less than this.
TOLERANCE = 1e-4
NUDGES = 64


class Disagreement(AssertionError):
    """The reference could not have given this answer."""


@dataclass
class Tally:
    """requests, tokens: that were compared. near: tokens that are not the reference's choice, but
    would be within the tolerance.
    """

    requests: int = 0
    tokens: int = 0
    near: int = 0


def compare(model: Model, request: Request, answer: Answer, tally: Tally) -> None:
    """Add one answer to the tally. Raises Disagreement."""
    if answer.error is not None:
        raise Disagreement(f"{request}: {answer.error!r}")
    given = [token for choice in answer.choices for token in choice]
    chosen = iter(given)

    def follow(logits: Logits, history: sampler.History, noise: Logits) -> int:
        token = next(chosen, None)
        own = sampler.sample(logits, history, noise)
        if token is None or not (token.token == own or nearly(logits, history, noise, token.token)):
            raise Disagreement(f"{request}: {token}, and not {own}")
        tally.near += token.token != own
        return token.token

    events = list(generate(model, request, sample=follow))
    tokens = [event for event in events if isinstance(event, Token)]
    ends = [[(t.token, t.finish_reason, t.stop_reason) for t in ts] for ts in (given, tokens)]
    if ends[0] != ends[1]:
        raise Disagreement(f"{request}: {ends[0]}, and not {ends[1]}")
    [prompt] = [event for event in events if isinstance(event, Prompt)]
    found = answer.prompt.reports if answer.prompt else None
    check_reports(request, found or (), prompt.reports or ())
    check_reports(request, [t.report for t in given], [t.report for t in tokens])
    tally.requests += 1
    tally.tokens += len(tokens)


def nearly(logits: Logits, history: sampler.History, noise: Logits, token: int) -> bool:
    """Whether a token would be the choice if the logits were off by the tolerance.

    Truncation may let in a token, or leave one out, that lies so near its line: then the others'
    lines are moved by as much, and the choice must be right for one of them.
    """
    rng = np.random.default_rng(0)
    for _ in range(NUDGES):
        nudge = rng.uniform(-TOLERANCE, TOLERANCE, len(logits)).astype(np.float32)
        if sampler.sample(logits + nudge, history, noise) == token:
            return True
    return False


def check_reports(
    request: Request, given: Sequence[Report | None], expected: Sequence[Report | None]
) -> None:
    """Raises Disagreement unless the log-probabilities are within the tolerance."""
    if len(given) != len(expected):
        raise Disagreement(f"{request}: {len(given)} reports, and not {len(expected)}")
    for a, b in zip(given, expected, strict=True):
        if a is None or b is None:
            if a is not b:
                raise Disagreement(f"{request}: {a}, and not {b}")
            continue
        if (
            a.token != b.token
            or abs(a.logprob - b.logprob) > TOLERANCE
            or not alike(a, b, request.params.logprobs or 0)
        ):
            raise Disagreement(f"{request}: {a}, and not {b}")


def alike(a: Report, b: Report, top: int) -> bool:
    """Whether two lists of the `top` likeliest tokens say the same within the tolerance. A token
    that only one of them has must tie, within it, with the last of the other.
    """
    mine, theirs = dict(a.top), dict(b.top)
    shared = mine.keys() & theirs.keys()
    if any(abs(mine[i] - theirs[i]) > TOLERANCE for i in shared):
        return False
    for one, other in (mine, theirs), (theirs, mine):
        last = sorted(other.values(), reverse=True)[:top][-1:]
        if any(abs(one[i] - value) > TOLERANCE for i in one.keys() - shared for value in last):
            return False
    return len(shared) >= min(1, len(mine))
