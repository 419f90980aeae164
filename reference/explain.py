"""Explains how one token was sampled: what each step did to the distribution, then the draw."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Integer

from reference import sampler
from reference.logits import Logits, probabilities
from reference.params import CompletionParams

MODEL = "model"
NAME = re.compile(r"[a-z_]+")


@dataclass(frozen=True, eq=False)
class Stage:
    """The distribution after a step. name: of the step; `model` before the first one.

    changed: whether the step changed a probability. removed: the tokens that it dropped.
    removed_mass: their probability before it.
    """

    name: str
    logits: Logits
    probabilities: Float64[np.ndarray, "V"]
    changed: bool
    removed: Integer[np.ndarray, "R"]
    removed_mass: float

    @property
    def kept(self) -> int:
        """Return how many tokens are left."""
        return int(np.isfinite(self.logits).sum())

    def others(self, rows: Sequence[int]) -> float:
        """Return the probability of all tokens except these."""
        return float(np.delete(self.probabilities, rows).sum())

    @cached_property
    def cumulative(self) -> Float64[np.ndarray, "V"]:
        """The mass of the 1, 2, … V most likely tokens, summed as `logits.top_p` sums it."""
        return np.cumsum(np.sort(self.probabilities)[::-1])


@dataclass(frozen=True)
class Reason:
    """A condition that dropped a token, with the numbers of that token. text: `p < min_p × p_max`
    is a condition of numbers by their names; without names it is a statement.
    """

    text: str
    numbers: Mapping[str, float]

    def __str__(self) -> str:
        """Return the condition with its numbers: integers, and four significant digits of others.

        >>> str(Reason("p < min_p × p_max", {"p": 0.031, "min_p": 0.05, "p_max": 0.71}))
        '0.031 < 0.05 × 0.71'
        """
        if not self.numbers:
            return self.text
        return NAME.sub(lambda name: number(self.numbers[name[0]]), self.text)


def number(x: float) -> str:
    """Format an integer exactly, and another number to four significant digits."""
    return str(x) if isinstance(x, int) else f"{x:.4g}"


@dataclass(frozen=True, eq=False)
class Explanation:
    """One sampled token. stages: the model's distribution, then one stage for each step. scores:
    the final logits plus the noise, whose argmax is the token.
    """

    params: CompletionParams
    stages: tuple[Stage, ...]
    noise: Logits
    scores: Logits
    token: int

    @property
    def runner_up(self) -> int | None:
        """Return the token with the second-best score; None if only one token is left."""
        others = self.scores.copy()
        others[self.token] = -np.inf
        best = int(np.argmax(others))
        return best if np.isfinite(others[best]) else None

    def top_scores(self, count: int) -> list[int]:
        """Return the tokens with the best scores, at most `count`, the best one first."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return [int(i) for i in order if np.isfinite(self.scores[i])]

    def top_tokens(self, count: int) -> list[int]:
        """Return the union of the most likely tokens before and after the steps, and the sampled
        token, in the order of their final and then of their first probability.

        Penalties may raise a token that the model alone finds unlikely.
        """
        first, last = self.stages[0].probabilities, self.stages[-1].probabilities
        tops = [np.argsort(-p, kind="stable")[:count] for p in (last, first)]
        tops[0] = tops[0][last[tops[0]] > 0]
        ids = {int(i) for top in tops for i in top} | {self.token}
        return sorted(ids, key=lambda i: (-last[i], -first[i], i))

    def removal(self, token: int) -> tuple[str, Reason] | None:
        """Return the step that dropped a token, and why; None if the token is left."""
        for before, stage in zip(self.stages, self.stages[1:], strict=False):
            if np.isfinite(before.logits[token]) and not np.isfinite(stage.logits[token]):
                return stage.name, self._reason(before, stage.name, token)
        return None

    def _reason(self, before: Stage, step: str, token: int) -> Reason:
        x, p, params = before.logits, before.probabilities, self.params
        match step:
            case "temperature":
                if x[token] == x.max():
                    return Reason("same logit, but id > argmax", {})
                return Reason("logit < max", {"logit": float(x[token]), "max": float(x.max())})
            case "min_p":
                numbers = {"p": float(p[token]), "min_p": params.min_p, "p_max": float(p.max())}
                return Reason("p < min_p × p_max", numbers)
            case "top_k":
                rank = 1 + int((x > x[token]).sum())
                return Reason("rank > top_k", {"rank": rank, "top_k": params.top_k})
            case "top_p":
                above = float(before.cumulative[int((p > p[token]).sum()) - 1])
                return Reason("mass_above ≥ top_p", {"mass_above": above, "top_p": params.top_p})
            case _:
                return Reason("not allowed", {})


def explain(logits: Logits, history: sampler.SamplingHistory, noise: Logits) -> Explanation:
    """Sample a token as `sampler.sample` does, and keep every intermediate result.

    Raises ValueError if the logits are not finite.

    Example:   top_p keeps two of four tokens; the noise makes the second one win.
               >>> V = 4
               >>> history = sampler.SamplingHistory(
               ...     params=CompletionParams(top_p=0.7), allowed=np.ones(V, np.bool_),
               ...     present=np.zeros(V, np.bool_), counts=np.zeros(V, np.int64),
               ... )
               >>> logits = np.log(np.float32([0.5, 0.3, 0.15, 0.05]))
               >>> explained = explain(logits, history, np.float32([0, 1, 9, 0]))
               >>> explained.token, explained.runner_up, explained.stages[-1].removed.tolist()
               (1, 0, [2, 3])
               >>> name, reason = explained.removal(2)
               >>> name, str(reason)
               ('top_p', '0.8 ≥ 0.7')
    """
    token = sampler.sample(logits, history, noise)
    stages = [Stage(MODEL, logits, probabilities(logits), False, np.array([], np.int64), 0.0)]
    for name, after in sampler.trace(logits, history):
        stages.append(stage(stages[-1], step_label(name, history.params), after))
    scores = (stages[-1].logits + noise).astype(np.float32)
    return Explanation(history.params, tuple(stages), noise, scores, token)


def stage(before: Stage, name: str, logits: Logits) -> Stage:
    """Return the stage after a step, compared with the one before it."""
    p = probabilities(logits)
    removed = np.flatnonzero(np.isfinite(before.logits) & ~np.isfinite(logits))
    mass = float(before.probabilities[removed].sum())
    return Stage(name, logits, p, not np.array_equal(p, before.probabilities), removed, mass)


def step_label(name: str, params: CompletionParams) -> str:
    """Return the name under which a step is shown: `allowed` for the first one if the request has
    no `response_format`, where it only masks special tokens.
    """
    kind = (params.response_format or {}).get("type", "text")
    return "allowed" if name == "response_format" and kind == "text" else name
