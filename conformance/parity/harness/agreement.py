"""Agreement of an engine's output with the reference, token by token.

The reference replays the engine's tokens. At each one it checks that it would sample the same
token, or could if the logits were off by the tolerance, and continues with the engine's token.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from conformance.parity.harness.property import Coverage
from conformance.parity.harness.requests import RequestOutput
from conformance.parity.harness.tolerance import LOGIT_TOLERANCE, logit_tolerance
from reference import sampler
from reference.bundle import Bundle
from reference.generate import Sampler, generate
from reference.logits import Logits
from reference.request import PromptProcessed, Request, TokenGenerated, TokenLogprobs

PERTURBATIONS = 64


class Disagreement(AssertionError):
    """An output that the reference could not have produced."""


def check_output(
    bundle: Bundle, request: Request, output: RequestOutput, coverage: Coverage
) -> None:
    """Check one output and add it to the coverage. Raises Disagreement."""
    if output.error is not None:
        raise Disagreement(f"{request}: {output.error!r}")
    actual = [token for choice in output.choices for token in choice]
    within = logit_tolerance(bundle.checkpoint.config)
    sample = replay_sampler(request, output, coverage, within)
    events = list(generate(bundle, request, sample=sample))
    expected = [event for event in events if isinstance(event, TokenGenerated)]
    ends = [[(t.token, t.finish_reason, t.stop_reason) for t in ts] for ts in (actual, expected)]
    if ends[0] != ends[1]:
        raise Disagreement(f"{request}: {ends[0]} instead of {ends[1]}")
    [prompt] = [event for event in events if isinstance(event, PromptProcessed)]
    prompt_logprobs = output.prompt.prompt_logprobs if output.prompt else None
    check_logprobs(request, prompt_logprobs or (), prompt.prompt_logprobs or (), within)
    ours, theirs = ([t.logprobs for t in tokens] for tokens in (actual, expected))
    check_logprobs(request, ours, theirs, within)
    coverage.counts["tokens"] += len(expected)


def replay_sampler(
    request: Request, output: RequestOutput, coverage: Coverage, within: float = LOGIT_TOLERANCE
) -> Sampler:
    """Return a sampler that repeats the engine's tokens, choice by choice. It raises Disagreement
    at a token that the reference could not have sampled.
    """
    choices = iter(output.choices)
    tokens: Iterator[TokenGenerated] = iter(())
    last: sampler.SamplingHistory | None = None

    def sample(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> int:
        nonlocal tokens, last
        if history is not last:  # a new history object marks the next choice
            tokens, last = iter(next(choices)), history
        actual, expected = next(tokens, None), sampler.sample(logits, history, noise)
        if actual is None:
            raise Disagreement(f"{request}: no token instead of {expected}")
        flipped = actual.token != expected
        if flipped and not is_borderline(logits, history, noise, actual.token, within):
            raise Disagreement(f"{request}: {actual} instead of {expected}")
        coverage.add_decisions(int(flipped), int(flipped))
        return actual.token

    return sample


def is_borderline(
    logits: Logits,
    history: sampler.SamplingHistory,
    noise: Logits,
    token: int,
    within: float = LOGIT_TOLERANCE,
) -> bool:
    """Return whether a token would be sampled if the logits were off by the tolerance.

    A perturbation can move a token across a truncation threshold, or a threshold across a token, so
    several are tried and one that leads to the token is enough.
    """
    rng = np.random.default_rng(0)
    for _ in range(PERTURBATIONS):
        perturbation = rng.uniform(-within, within, len(logits))
        perturbed = logits + perturbation.astype(np.float32)
        if sampler.sample(perturbed, history, noise) == token:
            return True
    return False


def check_logprobs(
    request: Request,
    actual: Sequence[TokenLogprobs | None],
    expected: Sequence[TokenLogprobs | None],
    within: float = LOGIT_TOLERANCE,
) -> None:
    """Raise Disagreement unless the log-probabilities are within the tolerance."""
    if len(actual) != len(expected):
        raise Disagreement(f"{request}: {len(actual)} logprobs instead of {len(expected)}")
    top = request.params.logprobs or 0
    for a, b in zip(actual, expected, strict=True):
        if a is None or b is None:
            if a is not b:
                raise Disagreement(f"{request}: {a} instead of {b}")
            continue
        if (
            a.token != b.token
            or abs(a.logprob - b.logprob) > within
            or not same_top_logprobs(dict(a.top), dict(b.top), top, within)
            or not is_ranked(a, min(top, len(b.top)))
        ):
            raise Disagreement(f"{request}: {a} instead of {b}")


def same_top_logprobs(
    a: Mapping[Any, float], b: Mapping[Any, float], top: int, within: float = LOGIT_TOLERANCE
) -> bool:
    """Return whether two lists of the `top` most likely tokens agree within the tolerance. A token
    that only one of them has must tie, within it, with the last of the other.
    """
    shared = a.keys() & b.keys()
    if any(abs(a[i] - b[i]) > within for i in shared):
        return False
    for x, y in (a, b), (b, a):
        last = sorted(y.values(), reverse=True)[:top][-1:]
        if any(abs(x[i] - value) > within for i in x.keys() - shared for value in last):
            return False
    return len(shared) >= min(1, len(a))


def is_ranked(entry: TokenLogprobs, top: int) -> bool:
    """Return whether an entry lists `top` tokens in the order of its own numbers, the lowest id
    first on a tie, followed by the sampled token unless it is among them.
    """
    most_likely, rest = entry.top[:top], entry.top[top:]
    ids = [token for token, _ in most_likely]
    sampled = () if entry.token in ids else ((entry.token, entry.logprob),)
    in_order = sorted(most_likely, key=lambda item: (-item[1], item[0]))
    return len(ids) == top and list(most_likely) == in_order and rest == sampled
