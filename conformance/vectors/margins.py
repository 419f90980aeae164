"""The distance of a case from a result that rounding could change.

A case is used only if every distance is at least `MIN_MARGIN`, a hundred times the rounding errors
of float32. Equal numbers need no margin: the same operations on equal numbers have equal results.
"""

import math

import numpy as np

from reference.logits import Logits, probabilities
from reference.params import CompletionParams
from reference.sampler import SamplingHistory, trace

MIN_MARGIN = 1e-4
EXACT = math.inf  # no rounding can change the result


def level_margin(x: Logits) -> float:
    """Return the smallest difference of logits that are not equal, relative to their size."""
    levels = np.unique(x[np.isfinite(x)]).astype(np.float64)
    gaps = np.diff(levels) / np.maximum(1, np.abs(levels[1:]))
    return float(gaps.min(initial=EXACT))


def min_p_margin(x: Logits, fraction: float) -> float:
    """Return the smallest relative distance of a token from the threshold. x: with a maximum of 0;
    a token of probability p_max is kept by every fraction up to 1, exactly.
    """
    if fraction == 0:
        return EXACT
    p = np.exp(x[np.isfinite(x) & (x < 0)].astype(np.float64))
    return float((np.abs(p - fraction) / fraction).min(initial=EXACT))


def top_p_margin(x: Logits, mass: float) -> float:
    """Return the smallest distance of `mass` from the mass of the tokens down to a level."""
    if mass >= 1 or mass == 0:
        return EXACT
    levels, inverse = np.unique(x, return_inverse=True)
    p = np.bincount(inverse, weights=probabilities(x), minlength=len(levels))
    return float(np.abs(np.cumsum(p[::-1]) - mass).min())


def origin_margin(x: Logits, original: Logits, history: SamplingHistory) -> float:
    """Return 0 if tokens with different logits or histories have become equal, which depends on the
    order of operations.
    """
    if not history.present.any():
        return EXACT
    kinds: dict[float, tuple[float, bool, int]] = {}
    for token in np.flatnonzero(np.isfinite(x)):
        kind = float(original[token]), bool(history.present[token]), int(history.counts[token])
        if kinds.setdefault(float(x[token]), kind) != kind:
            return 0.0
    return EXACT


def chain_margin(x: Logits, history: SamplingHistory) -> float:
    """Return the smallest distance at any step."""
    params: CompletionParams = history.params
    original, margins = x, []
    for name, after in trace(x, history):
        match name:
            case "min_p":
                margins.append(min_p_margin(x, params.min_p))
            case "top_p":
                margins.append(top_p_margin(x, params.top_p))
            case "top_k" | "temperature":
                margins += [level_margin(x), origin_margin(x, original, history)]
        x = after
    return min(margins)


def token_margin(x: Logits, noise: np.ndarray) -> float:
    """Return the difference of the two highest scores."""
    scores = np.sort((x.astype(np.float64) + noise)[np.isfinite(x)])
    return float(scores[-1] - scores[-2]) if len(scores) > 1 else EXACT


def stated(margin: float) -> float | None:
    """Return a margin for a case: null if it is exact. Raises ValueError if it is too small."""
    if margin < MIN_MARGIN:
        raise ValueError(f"margin: must be at least {MIN_MARGIN}, got {margin}")
    return None if math.isinf(margin) else float(f"{margin:.3g}")
