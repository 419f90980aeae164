"""Searches for prompts and parameters that distinguish the specification from known deviations."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.http.client import Server
from conformance.http.oracle import DecodeStep
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain, Dialect
from conformance.oracle.reported_rows import first_step, shifted
from conformance.verdicts import Inconclusive
from reference.logits import Logits, probabilities
from reference.params import CompletionParams
from reference.sampler import final_logits, trace

NUM_PERTURBATIONS = 8
NEAR_THRESHOLD = 3  # tokens on each side of a threshold
MIN_DISTINGUISHABILITY = 0.2  # enough for a few hundred samples, see `distinguishability`


def discriminating_prompt(
    server: Server,
    grid: Callable[[Logits], Iterable[Mapping[str, Any]]],
    dialect_names: Iterable[str] = (),
    prompts: Iterable[str] = PROMPTS,
) -> tuple[str, dict[str, Any]]:
    """Return the prompt and the parameters that best distinguish the specification from dialects.

    It is also distinguished from leaving a parameter out, and does not depend on errors within the
    tolerance. grid: the candidate parameters, given the logits of a prompt. Raises Inconclusive if
    no candidate is good enough.
    """
    suspects = dialects.dialects_named(dialect_names)
    ranked = []
    for prompt in prompts:
        for params in grid(first_step(server, prompt, {}).logits):
            step = first_step(server, prompt, params)
            ranked.append((min_distinguishability(step, suspects, params), prompt, dict(params)))
    ranked.sort(key=lambda candidate: -candidate[0])
    good = itertools.takewhile(lambda candidate: candidate[0] >= MIN_DISTINGUISHABILITY, ranked)
    for _, prompt, params in good:
        if is_robust(first_step(server, prompt, params)):
            return prompt, params
    names = ", ".join(d.name for d in suspects) or "the parameter from its off value"
    raise Inconclusive(f"with this model no tried prompt distinguishes {names}")


def min_distinguishability(
    step: DecodeStep, suspects: Sequence[Dialect], params: Mapping[str, Any]
) -> float:
    """Return the smallest difference of the specification from each suspect and omission."""
    chains = [d.final for d in suspects]
    chains += [dialects.without_parameter(name) for name in non_default(params)]
    spec = probabilities_after(final_logits, step)
    return min(
        distinguishability(spec, probabilities_after(chain, step)) for chain in chains or [uniform]
    )


def non_default(params: Mapping[str, Any]) -> list[str]:
    """Return the names of the parameters that differ from their defaults."""
    return [name for name, v in params.items() if v != getattr(CompletionParams(), name)]


def distinguishability(p: np.ndarray, q: np.ndarray) -> float:
    """Return the total variation distance, or twice the mass that only one distribution has.

    A sample that is impossible under one of them is conclusive by itself, so it counts twice.
    """
    one_sided = max(float(p[q == 0].sum()), float(q[p == 0].sum()))
    return max(2 * one_sided, float(np.abs(p - q).sum()) / 2)


def uniform(x: Logits, h: Any) -> Logits:
    """Return the logits of the uniform distribution: the alternative if there is no other."""
    return np.where(h.allowed, np.float32(0), np.float32(-np.inf))


def probabilities_after(chain: Chain, step: DecodeStep) -> np.ndarray:
    return probabilities(chain(step.logits, step.history))


def is_robust(step: DecodeStep) -> bool:
    """Return whether the same tokens are kept if the logits are wrong by their errors."""
    kept = np.isfinite(final_logits(step.logits, step.history))
    return all(
        (np.isfinite(final_logits(x, step.history)) == kept).all()
        for x in (
            *perturbed(step.logits, step.error),
            *perturbed_near_threshold(step, kept),
            *shifted(step),
        )
    )


def perturbed(logits: Logits, error: float | np.ndarray) -> Iterator[Logits]:
    """Yield logits that are wrong by an error, the same for all tokens or one for each. Equal
    logits stay equal: ties are exact.
    """
    rng = np.random.default_rng(0)
    levels, inverse = np.unique(logits, return_inverse=True)
    for _ in range(NUM_PERTURBATIONS):
        errors = (error * rng.choice((-1, 1), len(levels))[inverse]).astype(np.float32)
        yield logits + errors
        yield logits - errors


def perturbed_near_threshold(step: DecodeStep, kept: np.ndarray) -> Iterator[Logits]:
    """Yield the logits that are worst for the least likely tokens kept, and for the most likely
    ones dropped.
    """
    scores = dict(trace(step.logits, step.history))["temperature"]
    order = np.argsort(-scores, kind="stable")
    for token in order[kept[order]][-NEAR_THRESHOLD:]:
        yield favoring(step, int(token), -1)
    for token in order[~kept[order] & np.isfinite(scores[order])][:NEAR_THRESHOLD]:
        yield favoring(step, int(token), 1)


def favoring(step: DecodeStep, token: int, sign: int) -> Logits:
    """Return the logits that are wrong by their errors in favor of a token (1), or against it (−1).

    Tokens that tie with it move together with it.
    """
    direction = np.where(step.logits == step.logits[token], sign, -sign)
    return (step.logits + direction * step.error).astype(np.float32)
