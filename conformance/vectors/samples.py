"""Sampled tokens tested against the distribution of a case."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.oracle.judging import judge
from conformance.vectors.lines import Case
from conformance.verdicts import Inconclusive, ServerError

MIN_SAMPLES = 1000  # the dialects of each case are recognized with this many
MAX_SAMPLES = 1_000_000


def judge_samples(case: Case, tokens: Sequence[int], alpha: float) -> None:
    """Raise Failed, or NonStrict with a dialect's name, if tokens do not follow the distribution of
    a case. A program that draws from it fails with probability at most alpha.

    Raises Inconclusive for fewer than `MIN_SAMPLES` tokens, unless they suffice to reject, and
    ServerError for tokens that are not ids.
    """
    known = {name: distribution(values) for name, values in case.dialects.items()}
    size = len(case.expect["probabilities"])
    if not isinstance(tokens, list) or len(tokens) > MAX_SAMPLES:
        raise ServerError(f"tokens: must be a list of at most {MAX_SAMPLES} ids")
    if wrong := [t for t in tokens if type(t) is not int or not 0 <= t < size]:
        raise ServerError(f"tokens: must be ids below {size}, got {wrong[0]!r}")
    judge(alpha, tokens, distribution(case.expect), known, {}, None)
    if len(tokens) < MIN_SAMPLES:
        raise Inconclusive(f"{len(tokens)} tokens agree, {MIN_SAMPLES} are needed")


def distribution(values: Mapping[str, Any]) -> dict[Any, float]:
    """Return the probability of each token that can be drawn."""
    return {token: p for token, p in enumerate(values["probabilities"]) if p > 0}
