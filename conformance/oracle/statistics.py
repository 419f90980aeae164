"""Whether samples come from a distribution: tests by betting, valid whenever they are stopped.

Against the hypothesis p one bets on other distributions. The product of q(x)/p(x) over the samples
is what a bet on q has made of one unit; its expectation under p is 1, so by Ville's inequality it
reaches 1/α with probability α at most, at whatever time one looks (Ramdas, Grünwald, Vovk and
Shafer 2023, "Game-theoretic statistics and safe anytime-valid inference"). The mean of several
bets is a bet.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

Distribution = Mapping[Any, float]


def log_mean_exp(values: Sequence[float]) -> float:
    """log of the mean of exp(values). Of no values −inf."""
    top = max(values, default=-math.inf)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(v - top) for v in values) / len(values))


def log_likelihood(counts: Mapping[Any, int], p: Distribution) -> float:
    """Of samples; −inf if one of them has no probability."""
    total = 0.0
    for outcome, count in counts.items():
        if count and not p.get(outcome, 0.0) > 0:
            return -math.inf
        total += count * math.log(p[outcome]) if count else 0.0
    return total


def log_anything(counts: Mapping[Hashable, int], outcomes: int) -> float:
    """The likelihood of the samples, in their order, under a distribution of which nothing is known
    but how many outcomes it has (Krichevsky and Trofimov 1981: a Dirichlet prior of halves).
    """
    half, n = 0.5, sum(counts.values())
    total = math.lgamma(half * outcomes) - math.lgamma(n + half * outcomes)
    return total + sum(math.lgamma(c + half) - math.lgamma(half) for c in counts.values())


def log_evidence(
    samples: Sequence[Hashable], p: Distribution, others: Sequence[Distribution] = ()
) -> float:
    """log of the evidence against p: half of the stake on a distribution of which nothing is known,
    half on those that are suspected. +inf if a sample has no probability under p.
    """
    expected = log_likelihood(Counter(samples), p)
    if math.isinf(expected):
        return math.inf
    counts, likely = lumped(samples, p)
    stakes = [log_anything(counts, len(likely)) - log_likelihood(counts, likely)]
    suspected = [log_likelihood(Counter(samples), q) - expected for q in others]
    return log_mean_exp([*stakes, log_mean_exp(suspected)] if suspected else stakes)


def rejects(log_e: float, alpha: float) -> bool:
    """Whether so much evidence is found with probability alpha at most if nothing is wrong."""
    return log_e >= -math.log(alpha)


def lumped(
    samples: Sequence[Hashable], p: Distribution, most: int = 8
) -> tuple[Counter[Hashable], dict[Hashable, float]]:
    """Counts and probabilities of the `most` likeliest outcomes, and of all others together (under
    None). Every sample has a probability.
    """
    named = sorted(p, key=lambda outcome: -p[outcome])[:most]
    likely: dict[Hashable, float] = {outcome: p[outcome] for outcome in named}
    if len(p) > len(named):
        likely[None] = math.fsum(p[outcome] for outcome in p if outcome not in likely)
    return Counter(x if x in likely else None for x in samples), likely
