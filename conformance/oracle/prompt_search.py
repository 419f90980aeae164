"""Searches for prompts and parameters that distinguish the specification from known deviations."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.http.oracle import DecodeStep, Oracle
from conformance.oracle import dialects
from conformance.oracle.dialects import Chain, Dialect
from conformance.verdicts import Inconclusive
from reference.logits import Logits, probabilities
from reference.params import CompletionParams
from reference.sampler import final_logits

NUM_PERTURBATIONS = 8
MIN_DISTINGUISHABILITY = 0.2  # enough for a few hundred samples, see `distinguishability`


def discriminating_prompt(
    oracle: Oracle,
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
        for params in grid(oracle.logits(prompt)):
            step = oracle.first_step(prompt, dict(params))
            ranked.append((min_distinguishability(step, suspects, params), prompt, dict(params)))
    ranked.sort(key=lambda candidate: -candidate[0])
    good = itertools.takewhile(lambda candidate: candidate[0] >= MIN_DISTINGUISHABILITY, ranked)
    for _, prompt, params in good:
        if is_robust(oracle.first_step(prompt, params), oracle.tolerance):
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


def is_robust(step: DecodeStep, tolerance: float) -> bool:
    """Return whether the same tokens are kept if the logits are wrong by the tolerance."""
    kept = np.isfinite(final_logits(step.logits, step.history))
    return all(
        (np.isfinite(final_logits(x, step.history)) == kept).all()
        for x in perturbed(step.logits, tolerance)
    )


def perturbed(logits: Logits, tolerance: float) -> Iterator[Logits]:
    """Yield logits that are wrong by the tolerance. Equal logits stay equal: ties are exact."""
    rng = np.random.default_rng(0)
    levels, inverse = np.unique(logits, return_inverse=True)
    for _ in range(NUM_PERTURBATIONS):
        errors = rng.choice((-tolerance, tolerance), len(levels)).astype(np.float32)[inverse]
        yield logits + errors
        yield logits - errors
