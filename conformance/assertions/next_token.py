"""The distribution of one token as the server reports it, and samples that must follow it.

Only the most likely tokens are reported. The tests are built so that no other token matters.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.assertions.basic import assert_same_choices, assert_that
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import (
    LOGPROBS,
    SEEDS,
    has,
    require_capability,
    unique_token_names,
)
from conformance.harness.once import once_per_run
from conformance.http.client import PROMPT, Server
from conformance.http.exchange import Exchange
from conformance.oracle.judging import format_distribution, format_samples
from conformance.oracle.sampling import NUM_SAMPLES, neutral_params, sample_choices
from conformance.oracle.statistics import log_e_value, rejects
from conformance.verdicts import Failed, Inconclusive

MAX_LOGPROBS = 20  # the default limit of a server that follows the contract
FEW_SAMPLES = 40  # enough where a single wrong sample is a failure
OTHER_TOKENS = "any other"
MAX_NUCLEUS_MASS = 0.95  # leaves tokens outside that 200 samples contain unless they are dropped
MAX_SUPPORT_MASS = 0.8  # the same for `FEW_SAMPLES`
TIE_GAP = 1e-3  # log-probabilities that are closer count as a tie


@dataclass(frozen=True)
class NextTokenDistribution:
    """The reported part of a distribution. values: log-probabilities by name, descending."""

    prompt: str
    values: dict[str, float]
    at: Exchange

    @property
    def names(self) -> list[str]:
        return list(self.values)

    @property
    def best(self) -> str:
        return self.names[0]

    @property
    def best_names(self) -> list[str]:
        """The most likely token, and those that tie with it."""
        threshold = self.values[self.best] - TIE_GAP
        return [name for name, value in self.values.items() if value > threshold]

    @property
    def probabilities(self) -> dict[str, float]:
        return {name: math.exp(value) for name, value in self.values.items()}

    @property
    def other_mass(self) -> float:
        """The total probability of the tokens that are not reported."""
        return max(1 - math.fsum(self.probabilities.values()), 1e-6)

    def is_separated(self, rank: int) -> bool:
        """Return whether the token of a rank (from 0) does not tie with the next."""
        values = list(self.values.values())
        return rank + 1 < len(values) and values[rank] - values[rank + 1] > TIE_GAP

    def nucleus(self) -> tuple[list[str], float]:
        """Return the tokens of a nucleus, and the top_p in the middle of the range that gives it.

        Raises Inconclusive if each cutoff would split a tie.
        """
        p = list(self.probabilities.values())
        cutoffs = [rank for rank in range(1, len(p) - 1) if self.is_separated(rank)]
        cutoffs = [rank for rank in cutoffs if math.fsum(p[: rank + 1]) < MAX_NUCLEUS_MASS]
        if not cutoffs:
            raise Inconclusive("after the prompts tried no nucleus ends without a tie")
        # Choose the cutoff that is least sensitive to rounding, on either side.
        rank = max(cutoffs, key=lambda i: min(p[i] / 2, p[i] - p[i + 1]))
        return self.names[: rank + 1], math.fsum(p[:rank]) + p[rank] / 2


@once_per_run
def uncertain_distribution(server: Server, **fields: Any) -> NextTokenDistribution:
    """Return the distribution after the prompt, of those tried, whose top token is least likely."""
    tried = [next_token_distribution(server, prompt, **fields) for prompt in PROMPTS[:5]]
    return min(tried, key=lambda distribution: max(distribution.values.values()))


def next_token_distribution(
    server: Server, prompt: Any = PROMPT, **fields: Any
) -> NextTokenDistribution:
    """Return the reported distribution of the token after a prompt."""
    defaults = {"prompt": prompt, "max_tokens": 1, "logprobs": MAX_LOGPROBS}
    completion = server.complete(**defaults | unique_token_names(server) | fields)
    top = completion.choice.logprobs.top[0] or {}
    ranked = sorted(top.items(), key=lambda item: -item[1])
    assert_that(len(ranked) > 1, "several log-probabilities", top, completion.at)
    return NextTokenDistribution(prompt, dict(ranked), completion.at)


def sample_tokens(
    server: Server, distribution: NextTokenDistribution, count: int, **fields: Any
) -> list[tuple[str, Exchange]]:
    """Return the names of `count` first tokens, each sampled by a request with its own seed."""
    body = {"prompt": distribution.prompt, "logprobs": 1} | unique_token_names(server) | fields
    return [(c.logprobs.tokens[0], c.at) for c in sample_choices(server, count, **body)]


def assert_support(
    server: Server,
    distribution: NextTokenDistribution,
    kept: Iterable[str],
    what: str,
    **fields: Any,
) -> None:
    """Require that a few samples contain only some tokens.

    Raises Inconclusive if other tokens are too unlikely to appear anyway.
    """
    names = set(kept)
    if math.fsum(distribution.probabilities.get(name, 0) for name in names) > MAX_SUPPORT_MASS:
        raise Inconclusive("the model is too certain of its most likely tokens")
    for name, at in sample_tokens(server, distribution, FEW_SAMPLES, **fields):
        assert_that(name in names, f"with {what} one of {sorted(names)}", repr(name), at)


def assert_frequencies(
    server: Server,
    distribution: NextTokenDistribution,
    expected: Mapping[str, float],
    what: str,
    **fields: Any,
) -> None:
    """Require that samples follow a distribution, and contain no other token.

    expected: probabilities, up to a common factor, of all tokens that may be sampled.
    """
    samples = sample_tokens(server, distribution, NUM_SAMPLES, **fields)
    for name, at in samples:
        allowed = f"with {what} one of {sorted(expected)}"
        assert_that(name in expected, allowed, repr(name), at)
    assert_distribution(server, [name for name, _ in samples], expected, what, samples[-1][1])


def assert_conditional_frequencies(
    server: Server,
    distribution: NextTokenDistribution,
    expected: Mapping[str, float],
    what: str,
    others: Sequence[Mapping[str, float]] = (),
    **fields: Any,
) -> None:
    """Require that samples of some tokens follow a distribution, whatever the share of the rest.

    expected: probabilities of these tokens, up to a common factor. others: suspected alternatives.
    """
    samples = sample_tokens(server, distribution, NUM_SAMPLES, **fields)
    samples = [(name, at) for name, at in samples if name in expected]
    if len(samples) < FEW_SAMPLES:
        raise Inconclusive(f"only {len(samples)} of {NUM_SAMPLES} samples are of known tokens")
    names = [name for name, _ in samples]
    assert_distribution(server, names, expected, what, samples[-1][1], others)


def assert_matches_logprobs(
    server: Server, distribution: NextTokenDistribution, what: str, **fields: Any
) -> None:
    """Require that samples at temperature 1 follow the reported distribution.

    The tokens that are not reported are counted together.
    """
    p = distribution.probabilities | {OTHER_TOKENS: distribution.other_mass}
    drawn = sample_tokens(server, distribution, NUM_SAMPLES, **{"temperature": 1} | fields)
    samples = [name if name in p else OTHER_TOKENS for name, _ in drawn]
    assert_distribution(server, samples, p, what, drawn[-1][1])


def assert_distribution(
    server: Server,
    samples: Sequence[str],
    expected: Mapping[str, float],
    what: str,
    at: Exchange,
    others: Sequence[Mapping[str, float]] = (),
) -> None:
    """Raise Failed if samples do not follow a distribution. others: suspected alternatives."""
    p, *suspected = (normalized(weights) for weights in (expected, *others))
    if rejects(log_e_value(samples, p, suspected), server.alpha):
        raise Failed(f"with {what} {format_distribution(p)}", format_samples(samples, p), at=at)


def normalized(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    return {name: value / total for name, value in weights.items()}


def assert_default(server: Server, name: str, off: Any, temperature: Any = 1) -> None:
    """Require that omitting a field is the same as sending its off value.

    Samples are compared seed by seed; without seeds, with the reported distribution.
    """
    if not has(server, SEEDS):
        require_capability(server, LOGPROBS)
        distribution = uncertain_distribution(server)
        return assert_matches_logprobs(server, distribution, f"no {name}", **{name: ...})
    params = {"temperature": temperature} | neutral_params(server)
    for prompt in PROMPTS[:4]:
        seed = server.rng.getrandbits(31)
        body = params | {"prompt": prompt, "max_tokens": 24, "seed": seed}
        assert_same_without(server, name, off, body)


def assert_default_penalty(server: Server, name: str, off: Any) -> None:
    """Require that omitting a penalty gives the greedy texts of its off value."""
    for prompt in PROMPTS[:5]:
        assert_same_without(server, name, off, {"prompt": prompt, "max_tokens": 24})


def assert_same_without(server: Server, name: str, off: Any, body: Mapping[str, Any]) -> None:
    """Require that a request has the same choices with a field's off value and without it."""
    explicit, omitted = (server.complete(**{**body, name: value}) for value in (off, ...))
    expected = f"without {name} the text of {name} {off}"
    assert_same_choices(explicit.choices, omitted.choices, expected)
