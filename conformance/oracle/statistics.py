"""Sequential tests with e-values: whether samples follow a distribution.

The test bets on an alternative q against the hypothesis p: the product of q(x)/p(x) over the
samples is the capital that a bet of one unit has become. Its expectation under p is 1, so by
Ville's inequality it ever reaches 1/α with probability at most α. The test is therefore valid at
any stopping time (Ramdas, Grünwald, Vovk and Shafer 2023, "Game-theoretic statistics and safe
anytime-valid inference"). The mean of several e-values is an e-value.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

Distribution = Mapping[Any, float]


def log_mean_exp(values: Sequence[float]) -> float:
    """Return log(mean(exp(values))); −inf for no values."""
    top = max(values, default=-math.inf)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


def log_likelihood(counts: Mapping[Any, int], p: Distribution) -> float:
    """Return the log-likelihood of samples; −inf if one of them has probability 0."""
    total = 0.0
    for outcome, count in counts.items():
        if count and not p.get(outcome, 0.0) > 0:
            return -math.inf
        total += count * math.log(p[outcome]) if count else 0.0
    return total


def log_universal_likelihood(counts: Mapping[Hashable, int], outcomes: int) -> float:
    """Return the log-likelihood of a sequence of samples under an unknown distribution.

    It is a mixture over all distributions of that many outcomes (Krichevsky and Trofimov 1981: a
    Dirichlet prior with parameters ½).
    """
    half, n = 0.5, sum(counts.values())
    total = math.lgamma(half * outcomes) - math.lgamma(n + half * outcomes)
    return total + sum(math.lgamma(c + half) - math.lgamma(half) for c in counts.values())


def log_e_value(
    samples: Sequence[Hashable], p: Distribution, others: Sequence[Distribution] = ()
) -> float:
    """Return the log of the e-value against p; +inf if a sample has probability 0 under p.

    Half of the capital is bet on an unknown distribution, half on the suspected alternatives.
    """
    expected = log_likelihood(Counter(samples), p)
    if math.isinf(expected):
        return math.inf
    counts, merged = merge_rare(samples, p)
    bets = [log_universal_likelihood(counts, len(merged)) - log_likelihood(counts, merged)]
    suspected = [log_likelihood(Counter(samples), q) - expected for q in others]
    return log_mean_exp([*bets, log_mean_exp(suspected)] if suspected else bets)


def rejects(log_e: float, alpha: float) -> bool:
    """Return whether an e-value rejects the hypothesis at level alpha."""
    return log_e >= -math.log(alpha)


def merge_rare(
    samples: Sequence[Hashable], p: Distribution, max_outcomes: int = 8
) -> tuple[Counter[Hashable], dict[Hashable, float]]:
    """Return counts and probabilities of the most likely outcomes, and of the rest as None.

    Every sample must have a positive probability.
    """
    named = sorted(p, key=lambda outcome: -p[outcome])[:max_outcomes]
    merged: dict[Hashable, float] = {outcome: p[outcome] for outcome in named}
    if len(p) > len(named):
        merged[None] = math.fsum(p[outcome] for outcome in p if outcome not in merged)
    return Counter(x if x in merged else None for x in samples), merged
