"""A sequential test of all sampling steps together: likelihood ratios against the reference."""

import math
import random

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.http.client import Server
from conformance.http.oracle import DecodeStep
from conformance.http.response import Choice
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain
from conformance.oracle.judging import best_explanation, label_omissions
from conformance.oracle.prompt_search import favoring, is_robust, perturbed, probabilities_after
from conformance.oracle.reported_rows import shifted
from conformance.oracle.statistics import log_e_value, log_mean_exp
from conformance.verdicts import Failed
from reference.sampler import STEPS, final_logits

PARAMETERS = [name for name, _ in STEPS[1:]]
NUM_BINS = 8  # of equal probability, one of which a token falls in


class SequentialTest:
    """Test of whether a server draws its tokens as the reference does.

    The e-value is a mean of two: half is the mean of the likelihood ratios of the alternatives
    (each dialect, each parameter ignored, likely tokens drawn too often or too seldom), half
    rejects any server that draws tokens of one rank too often.

    ratios: log-likelihood ratio of each alternative to the reference. possible: whether the
    reference could have drawn every token so far.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.known: dict[str, Chain] = {d.name: d.final for d in dialects.DIALECTS}
        self.ignored = label_omissions(
            {name: dialects.without_parameter(name) for name in PARAMETERS}
        )
        self.tempered: dict[str, Chain] = {
            "likely tokens too often": lambda x, h: final_logits(x, h) * np.float32(1.3),
            "likely tokens too seldom": lambda x, h: final_logits(x, h) * np.float32(0.8),
        }
        self.ratios = dict.fromkeys([*self.known, *self.ignored, *self.tempered], 0.0)
        self.bins: list[int] = []
        self.num_tokens = self.num_borderline = 0
        self.possible = True

    def add(self, step: DecodeStep, what: str, choice: Choice) -> None:
        """Update the test with one token. Raises Failed or NonStrict for a token that the reference
        masks.
        """
        p = probabilities_after(final_logits, step)
        self.num_tokens += 1
        possible = bool(p[step.token] > 0)
        if possible and is_robust(step):
            self.bins.append(rank_bin(p, step.token, self.server.rng))
        elif possible or can_keep(final_logits, step):
            self.num_borderline += 1
            return
        # An impossible token has no reference likelihood: the ratios rank the alternatives only.
        reference = math.log(p[step.token]) if possible else 0.0
        for name, chain in (self.known | self.ignored | self.tempered).items():
            q = probabilities_after(chain, step)[step.token]
            self.ratios[name] += math.log(q) - reference if q > 0 else -math.inf
        if not possible:
            self.possible = False
            text = self.server.oracle.token_text(PROMPTS[0], step.token)
            raise self.verdict(f"one of {(p > 0).sum()} tokens as {what}", repr(text), choice)

    @property
    def evidence(self) -> float:
        """The logarithm of the e-value against the reference."""
        uniform = dict.fromkeys(range(NUM_BINS), 1 / NUM_BINS)
        alternatives = log_mean_exp(list(self.ratios.values()))
        return log_mean_exp([alternatives, log_e_value(self.bins, uniform)])

    @property
    def odds(self) -> str:
        """The largest likelihood ratios, as powers of ten."""
        best = sorted(self.ratios.items(), key=lambda item: -item[1])[:3]
        ratios = ", ".join(f"{name}: 10^{ratio / math.log(10):.1f}" for name, ratio in best)
        return f"{self.num_tokens} tokens, {self.num_borderline} of them borderline; {ratios}"

    def verdict(self, expected: str, seen: str, choice: Choice) -> Failed:
        """Build the outcome, which names each alternative that fits better than the reference."""
        better = {n: r for n, r in self.ratios.items() if r > 0 or not self.possible}
        return best_explanation(expected, seen, better, self.known, choice.at)


def rank_bin(p: np.ndarray, token: int, rng: random.Random) -> int:
    """Return the bin of a token, from the most likely down.

    The position within the token's own probability is random, so every bin is equally likely.
    """
    above = float(p[(p > p[token]) | ((p == p[token]) & (np.arange(len(p)) < token))].sum())
    return min(int((above + rng.random() * float(p[token])) * NUM_BINS), NUM_BINS - 1)


def can_keep(chain: Chain, step: DecodeStep) -> bool:
    """Return whether a chain keeps the token for some logits within their errors."""
    candidates = favoring(step, step.token, 1), *perturbed(step.logits, step.error), *shifted(step)
    return any(np.isfinite(chain(x, step.history)[step.token]) for x in candidates)
