"""All steps at once: any parameters, any prompt, and some tokens of each."""

import math
import random
from typing import Any

import numpy as np

from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import truth
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain
from conformance.oracle.greedy_paths import output_of
from conformance.oracle.sampling import (
    PROMPTS,
    explained,
    left_out,
    mass,
    nudged,
    stable,
)
from conformance.oracle.statistics import log_evidence, log_mean_exp, rejects
from conformance.oracle.truth import Step
from conformance.verdicts import Evidence, Failed, Level
from reference.sampler import STEPS, final_logits

RESTS_ON = "sampler.final_logits"
REQUESTS, LENGTH = 48, 12
OFTEN = 0.6  # how often a parameter is not off
PARTS = 8  # of equal probability, one of which a token falls in
NAMES = [name for name, _ in STEPS[1:]]


@truth(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_as_the_reference_does(server: Server) -> None:
    """Whatever the parameters, each token is one that the steps have left, in their order, and each
    is drawn as often as it should be, given the tokens before it.
    """
    bets = Bets(server)
    for turn in range(REQUESTS):
        params = (encouraging if turn % 2 else any_params)(server.rng)
        prompt = server.rng.choice(PROMPTS)
        fields = {"prompt": prompt, "max_tokens": LENGTH, "seed": server.rng.getrandbits(31)}
        choice, output = output_of(server, **params, **fields)
        for position, step in enumerate(server.truth.steps(prompt, params, output), 1):
            bets.add(step, f"token {position} of {choice.text!r} with {params}", choice)
        if rejects(bets.evidence, server.alpha):
            raise bets.verdict("tokens as often as the reference draws them", bets.odds, choice)


def any_params(rng: random.Random) -> dict[str, Any]:
    """Values of all parameters of a draw, some of which are off."""

    def some(value: float, off: float) -> float:
        return value if rng.random() < OFTEN else off

    def between(low: float, high: float) -> float:
        return round(rng.uniform(low, high), 3)

    return {
        "temperature": between(0.7, 2),
        "min_p": some(between(0, 0.2), 0),
        "top_k": some(rng.randint(3, 20), 0),
        "top_p": some(between(0.5, 1), 1),
        "repetition_penalty": some(between(0.85, 1.15), 1),
        "frequency_penalty": some(between(-2, 1), 0),
        "presence_penalty": some(between(-2, 1), 0),
    }


def encouraging(rng: random.Random) -> dict[str, Any]:
    """Where few tokens are left and those of the output are encouraged, many of these come again:
    the penalties show in which they are.
    """
    found = any_params(rng) | {"min_p": 0, "top_p": 1, "top_k": rng.randint(3, 20)}
    for name in "frequency_penalty", "presence_penalty":
        found[name] = -abs(found[name])
    return found


class Bets:
    """Stakes against the reference: one on each dialect, one on each parameter being ignored, two
    on likely tokens being drawn too often or too seldom, and as much as on all of these on whatever
    draws tokens of one rank too often.

    ratios: the logarithm of what each has made of one unit. possible: whether the reference could
    have drawn all tokens.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.known: dict[str, Chain] = {d.name: d.final for d in dialects.DIALECTS}
        self.ignored = left_out({name: dialects.ignoring(name) for name in NAMES})
        self.bent: dict[str, Chain] = {
            "likely tokens too often": lambda x, h: final_logits(x, h) * np.float32(1.3),
            "likely tokens too seldom": lambda x, h: final_logits(x, h) * np.float32(0.8),
        }
        self.ratios = dict.fromkeys([*self.known, *self.ignored, *self.bent], 0.0)
        self.parts: list[int] = []
        self.steps = self.near = 0
        self.possible = True

    def add(self, step: Step, what: str, choice: Choice) -> None:
        """Raises Failed or NonStrict for a token that was not left."""
        p = mass(final_logits, step)
        self.steps += 1
        possible = bool(p[step.token] > 0)
        tolerance = self.server.truth.tolerance
        if possible and stable(step, tolerance):
            self.parts.append(part(p, step.token, self.server.rng))
        elif possible or kept(final_logits, step, tolerance):
            self.near += 1
            return
        own = math.log(p[step.token]) if possible else 0.0  # else nothing is left to compare with
        for name, chain in (self.known | self.ignored | self.bent).items():
            q = mass(chain, step)[step.token]
            self.ratios[name] += math.log(q) - own if q > 0 else -math.inf
        if not possible:
            self.possible = False
            text = self.server.truth.text(PROMPTS[0], step.token)
            raise self.verdict(f"one of {(p > 0).sum()} tokens as {what}", repr(text), choice)

    @property
    def evidence(self) -> float:
        uniform = dict.fromkeys(range(PARTS), 1 / PARTS)
        told = log_mean_exp(list(self.ratios.values()))
        return log_mean_exp([told, log_evidence(self.parts, uniform)])

    @property
    def odds(self) -> str:
        """What the best bets have made, as powers of ten."""
        best = sorted(self.ratios.items(), key=lambda item: -item[1])[:3]
        told = ", ".join(f"{name}: 10^{ratio / math.log(10):.1f}" for name, ratio in best)
        return f"{self.steps} tokens, {self.near} of them near a line; {told}"

    def verdict(self, expected: str, seen: str, choice: Choice) -> Failed:
        """What explains the tokens, if it does so better than the reference."""
        better = {n: r for n, r in self.ratios.items() if r > 0 or not self.possible}
        return explained(expected, seen, better, self.known, choice.at)


def part(p: np.ndarray, token: int, rng: random.Random) -> int:
    """In which of equally likely parts a token falls, if they are taken from the likeliest down: at
    a place of its own by chance, so that each part is as likely as the others.
    """
    above = float(p[(p > p[token]) | ((p == p[token]) & (np.arange(len(p)) < token))].sum())
    return min(int((above + rng.random() * float(p[token])) * PARTS), PARTS - 1)


def kept(chain: Chain, step: Step, tolerance: float) -> bool:
    """Whether a chain leaves a token if the logits are off by the tolerance."""
    return any(
        np.isfinite(chain(x, step.history)[step.token]) for x in nudged(step.logits, tolerance)
    )
