"""Whether the reference could have given an answer that a backend gave.

Token by token: the reference is shown what the backend chose, asks whether that is its own choice,
or would be if the logits were off by the tolerance, and goes on from there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from conformance.parity.harness.property import Tally
from conformance.parity.harness.requests import Answer
from conformance.parity.harness.tolerance import LOGIT
from reference import sampler
from reference.bundle import Bundle
from reference.generate import Sampler, generate
from reference.logits import Logits
from reference.request import PromptProcessed, Request, TokenGenerated, TokenLogprobs

NUDGES = 64


class Disagreement(AssertionError):
    """The reference could not have given this answer."""


def compare(model: Bundle, request: Request, answer: Answer, tally: Tally) -> None:
    """Add one answer to the tally. Raises Disagreement."""
    if answer.error is not None:
        raise Disagreement(f"{request}: {answer.error!r}")
    given = [token for choice in answer.choices for token in choice]
    events = list(generate(model, request, sample=following(request, answer, tally)))
    tokens = [event for event in events if isinstance(event, TokenGenerated)]
    ends = [[(t.token, t.finish_reason, t.stop_reason) for t in ts] for ts in (given, tokens)]
    if ends[0] != ends[1]:
        raise Disagreement(f"{request}: {ends[0]}, and not {ends[1]}")
    [prompt] = [event for event in events if isinstance(event, PromptProcessed)]
    found = answer.prompt.prompt_logprobs if answer.prompt else None
    check_reports(request, found or (), prompt.prompt_logprobs or ())
    check_reports(request, [t.logprobs for t in given], [t.logprobs for t in tokens])
    tally.counts["tokens"] += len(tokens)


def following(request: Request, answer: Answer, tally: Tally) -> Sampler:
    """A sampler that chooses what the backend chose, choice after choice. It raises Disagreement
    where the reference could not have done so.
    """
    choices = iter(answer.choices)
    tokens: Iterator[TokenGenerated] = iter(())
    last: sampler.SamplingHistory | None = None

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        nonlocal tokens, last
        if history is not last:  # each choice has one of its own
            tokens, last = iter(next(choices)), history
        token, own = next(tokens, None), sampler.sample(logits, history, noise)
        if token is None or not (token.token == own or nearly(logits, history, noise, token.token)):
            raise Disagreement(f"{request}: {token}, and not {own}")
        tally.decided(int(token.token != own), int(token.token != own))
        return token.token

    return sample


def nearly(logits: Logits, history: sampler.SamplingHistory, noise: Logits, token: int) -> bool:
    """Whether a token would be the choice if the logits were off by the tolerance.

    Truncation may let in a token, or leave one out, that lies so near its line: then the others'
    lines are moved by as much, and the choice must be right for one of them.
    """
    rng = np.random.default_rng(0)
    for _ in range(NUDGES):
        nudge = rng.uniform(-LOGIT, LOGIT, len(logits)).astype(np.float32)
        if sampler.sample(logits + nudge, history, noise) == token:
            return True
    return False


def check_reports(
    request: Request,
    given: Sequence[TokenLogprobs | None],
    expected: Sequence[TokenLogprobs | None],
) -> None:
    """Raises Disagreement unless the log-probabilities are within the tolerance."""
    if len(given) != len(expected):
        raise Disagreement(f"{request}: {len(given)} reports, and not {len(expected)}")
    top = request.params.logprobs or 0
    for a, b in zip(given, expected, strict=True):
        if a is None or b is None:
            if a is not b:
                raise Disagreement(f"{request}: {a}, and not {b}")
            continue
        if (
            a.token != b.token
            or abs(a.logprob - b.logprob) > LOGIT
            or not alike(dict(a.top), dict(b.top), top)
            or not ranked(a, min(top, len(b.top)))
        ):
            raise Disagreement(f"{request}: {a}, and not {b}")


def alike(mine: Mapping[Any, float], theirs: Mapping[Any, float], top: int) -> bool:
    """Whether two lists of the `top` likeliest tokens say the same within the tolerance. A token
    that only one of them has must tie, within it, with the last of the other.
    """
    shared = mine.keys() & theirs.keys()
    if any(abs(mine[i] - theirs[i]) > LOGIT for i in shared):
        return False
    for one, other in (mine, theirs), (theirs, mine):
        last = sorted(other.values(), reverse=True)[:top][-1:]
        if any(abs(one[i] - value) > LOGIT for i in one.keys() - shared for value in last):
            return False
    return len(shared) >= min(1, len(mine))


def ranked(report: TokenLogprobs, top: int) -> bool:
    """Whether a list has `top` entries in the order of its own numbers, the lowest id first on a
    tie, and then the token itself unless it is one of them.
    """
    likeliest, rest = report.top[:top], report.top[top:]
    ids = [token for token, _ in likeliest]
    own = () if report.token in ids else ((report.token, report.logprob),)
    in_order = sorted(likeliest, key=lambda one: (-one[1], one[0]))
    return len(ids) == top and list(likeliest) == in_order and rest == own
