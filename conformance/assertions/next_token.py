"""The distribution of one token as a server itself reports it, to hold its draws against.

Only the likeliest tokens are known; what is checked is made so that no other matters.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.assertions.basic import require, same
from conformance.harness.capabilities import LOGPROBS, SEEDS, TOKEN_IDS, demand, has
from conformance.http.client import PROMPT, Server
from conformance.http.exchange import Exchange
from conformance.oracle.sampling import (
    PROMPTS,
    SAMPLES,
    draw,
    frequencies,
    neutral,
    shown,
)
from conformance.oracle.statistics import log_evidence, rejects
from conformance.verdicts import Failed, Inconclusive

WIDE = 20  # the most log-probabilities that a server of the contract gives unless told otherwise
FEW = 40  # draws, where one wrong one is enough
REST = "any other"
DOUBT = 0.95  # of probability: what is beyond must be drawn now and then if nothing is dropped
SURE = 0.8  # the same, of a few draws
GAP = 1e-3  # of a log-probability: what two tokens must differ by not to be taken for a tie


@dataclass(frozen=True)
class Row:
    """values: log-probabilities by name, the likeliest first."""

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
    def likeliest(self) -> list[str]:
        """The best, and those as likely."""
        return [name for name, value in self.values.items() if value > self.values[self.best] - GAP]

    @property
    def probabilities(self) -> dict[str, float]:
        return {name: math.exp(value) for name, value in self.values.items()}

    @property
    def rest(self) -> float:
        """The probability of all tokens that are not known."""
        return max(1 - math.fsum(self.probabilities.values()), 1e-6)

    def clear(self, rank: int) -> bool:
        """Whether the token of a rank (from 0) is clearly likelier than the next."""
        values = list(self.values.values())
        return rank + 1 < len(values) and values[rank] - values[rank + 1] > GAP

    def nucleus(self) -> tuple[list[str], float]:
        """The tokens of a nucleus, and a mass in the middle of what leads to it. Raises
        Inconclusive if no nucleus is clear.
        """
        p = list(self.probabilities.values())
        clear = [rank for rank in range(1, len(p) - 1) if self.clear(rank)]
        clear = [rank for rank in clear if math.fsum(p[: rank + 1]) < DOUBT]
        if not clear:
            raise Inconclusive("no two tokens are clearly the likeliest after the prompts tried")
        rank = max(clear, key=lambda i: min(p[i] / 2, p[i] - p[i + 1]))
        return self.names[: rank + 1], math.fsum(p[:rank]) + p[rank] / 2


def first_row(server: Server, **fields: Any) -> Row:
    """Of the token after a prompt: of those tried, the one after which the model is in most doubt.
    Asked for once a run.
    """
    known, facts = f"row {sorted(fields.items())}", server.target.facts
    if known not in facts:
        rows = [row_of(server, prompt, **fields) for prompt in PROMPTS[:5]]
        facts[known] = min(rows, key=lambda row: max(row.values.values()))
    found: Row = facts[known]
    return found


def naming(server: Server) -> dict[str, Any]:
    """Fields that make names of tokens unique, if the server knows how."""
    return {"return_tokens_as_token_ids": True} if has(server, TOKEN_IDS) else {}


def row_of(server: Server, prompt: Any = PROMPT, **fields: Any) -> Row:
    """Of the token after a prompt."""
    asked = {"prompt": prompt, "max_tokens": 1, "logprobs": WIDE} | naming(server) | fields
    answer = server.ask(**asked)
    top = answer.choice.rows.top[0] or {}
    ranked = sorted(top.items(), key=lambda item: -item[1])
    require(len(ranked) > 1, "several log-probabilities", top, answer.at)
    return Row(prompt, dict(ranked), answer.at)


def drawn(server: Server, row: Row, count: int, **fields: Any) -> list[tuple[str, Exchange]]:
    """The names of first tokens, each drawn by a request with a seed of its own."""
    asked = {"prompt": row.prompt, "logprobs": 1} | naming(server) | fields
    return [(c.rows.tokens[0], c.at) for c in draw(server, count, **asked)]


def only_among(server: Server, row: Row, kept: Iterable[str], what: str, **fields: Any) -> None:
    """Few draws: none is of another token. Raises Inconclusive if hardly any other would be drawn
    in any case.
    """
    names = set(kept)
    if math.fsum(row.probabilities.get(name, 0) for name in names) > SURE:
        raise Inconclusive("the model is too sure of its likeliest tokens")
    for name, at in drawn(server, row, FEW, **fields):
        require(name in names, f"with {what} one of {sorted(names)}", repr(name), at)


def as_often(
    server: Server, row: Row, expected: Mapping[str, float], what: str, **fields: Any
) -> None:
    """Many draws: each token as often as it should be, none that should not. expected:
    probabilities, up to a factor, of all tokens that may be drawn.
    """
    found = drawn(server, row, SAMPLES, **fields)
    for name, at in found:
        seen = f"with {what} one of {sorted(expected)}"
        require(name in expected, seen, repr(name), at)
    hold(server, [name for name, _ in found], expected, what, found[-1][1])


def as_often_among(
    server: Server,
    row: Row,
    expected: Mapping[str, float],
    what: str,
    others: Sequence[Mapping[str, float]] = (),
    **fields: Any,
) -> None:
    """Many draws: of some tokens each as often as it should be, among them. expected, others: their
    probabilities, up to a factor; how likely the rest is does not matter.
    """
    found = [(name, at) for name, at in drawn(server, row, SAMPLES, **fields) if name in expected]
    if len(found) < FEW:
        raise Inconclusive(f"only {len(found)} of {SAMPLES} draws are of tokens that are known")
    hold(server, [name for name, _ in found], expected, what, found[-1][1], others)


def as_reported(server: Server, row: Row, what: str, **fields: Any) -> None:
    """Many draws at temperature 1: each token that is known as often as is reported, all others
    together as often as is left.
    """
    p = row.probabilities | {REST: row.rest}
    found = drawn(server, row, SAMPLES, **{"temperature": 1} | fields)
    samples = [name if name in p else REST for name, _ in found]
    hold(server, samples, p, what, found[-1][1])


def hold(
    server: Server,
    samples: Sequence[str],
    expected: Mapping[str, float],
    what: str,
    at: Exchange,
    others: Sequence[Mapping[str, float]] = (),
) -> None:
    """Raises Failed if samples are not as often what they should be."""
    p, *suspected = (normalised(weights) for weights in (expected, *others))
    if rejects(log_evidence(samples, p, suspected), server.alpha):
        raise Failed(f"with {what} {frequencies(p)}", shown(samples, p), at=at)


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    return {name: value / total for name, value in weights.items()}


def default_is(server: Server, name: str, off: Any, temperature: Any = 1) -> None:
    """Without a field the answers are those with its off value. Draws are compared seed by seed
    where the server has seeds; where it has none, with what it reports.
    """
    if not has(server, SEEDS):
        demand(server, LOGPROBS)
        return as_reported(server, first_row(server), f"no {name}", **{name: ...})
    asked = {"temperature": temperature} | neutral(server)
    for prompt in PROMPTS[:4]:
        both = asked | {"prompt": prompt, "max_tokens": 24, "seed": server.rng.getrandbits(31)}
        one, other = (server.ask(**both | {name: value}) for value in (off, ...))
        same(one.choices, other.choices, f"without {name} the text of {name} {off}")


def default_penalty_is(server: Server, name: str, off: Any) -> None:
    """Without a field the greedy texts are those with its off value."""
    for prompt in PROMPTS[:5]:
        fields = {"prompt": prompt, "max_tokens": 24}
        one, other = (server.ask(**fields, **{name: value}) for value in (off, ...))
        same(one.choices, other.choices, f"without {name} the text of {name} {off}")
