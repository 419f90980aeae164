"""The steps of the sampler: one pure function per parameter that changes the logits.

Each takes (V,) float32 and returns (V,) float32; the input is not modified. A token that must not
be sampled has the logit −inf, and each function treats such tokens as absent. The functions are
listed in the order in which `sampler.STEPS` applies them, and every docstring has the same lines.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

Logits = Float32[np.ndarray, "V"]

NEG_INF = np.float32(-np.inf)
MIN_TEMPERATURE = np.finfo(np.float32).tiny  # the smallest normal float32


def mask(logits: Logits, allowed: Bool[np.ndarray, "V"]) -> Logits:
    """Keep only the allowed tokens.

    Meaning:   −inf where `allowed` is False.
    Boundary:  the caller ensures that at least one token is allowed.
    Ties:      not applicable.
    Off value: all True.
    Source:    this specification; see `sampler.allowed_tokens` and `grammar.token_mask`.
    Example:   the second of two tokens is not allowed.
               >>> mask(np.float32([1, 2]), np.array([True, False])).tolist()
               [1.0, -inf]
    """
    return np.where(allowed, logits, NEG_INF)


def repetition_penalty(logits: Logits, present: Bool[np.ndarray, "V"], penalty: float) -> Logits:
    """Make the tokens of prompt and output less likely (penalty > 1) or more likely (< 1).

    Meaning:   for each token present, a positive logit is divided by the penalty, any other is
               multiplied by it.
    Boundary:  the number of occurrences does not matter; a logit of 0 stays 0.
    Ties:      not applicable.
    Off value: 1.
    Source:    Keskar et al. 2019 (CTRL), section 4.1, with the sign rule of later implementations.
    Example:   a penalty of 2 halves the logit 4 and doubles −1; the third token is not present.
               >>> present = np.array([True, True, False])
               >>> repetition_penalty(np.float32([4, -1, 3]), present, 2.0).tolist()
               [2.0, -2.0, 3.0]
    """
    penalized = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(present, penalized, logits).astype(np.float32)


def frequency_penalty(logits: Logits, counts: Int64[np.ndarray, "V"], penalty: float) -> Logits:
    """Subtract the penalty once for each occurrence of a token in the output so far.

    Meaning:   logit − penalty · count.
    Boundary:  the prompt is not counted; a negative penalty encourages repetition.
    Ties:      not applicable.
    Off value: 0.
    Source:    OpenAI's API reference ("frequency and presence penalties").
    Example:   three tokens that have occurred 0, 1 and 3 times.
               >>> frequency_penalty(np.float32([2, 2, 2]), np.array([0, 1, 3]), 0.5).tolist()
               [2.0, 1.5, 0.5]
    """
    return logits - np.float32(penalty) * counts.astype(np.float32)


def presence_penalty(logits: Logits, counts: Int64[np.ndarray, "V"], penalty: float) -> Logits:
    """Subtract the penalty once from each token that occurs in the output so far.

    Meaning:   logit − penalty · [count > 0].
    Boundary:  the prompt is not counted; a negative penalty encourages repetition.
    Ties:      not applicable.
    Off value: 0.
    Source:    OpenAI's API reference ("frequency and presence penalties").
    Example:   three tokens that have occurred 0, 1 and 3 times.
               >>> presence_penalty(np.float32([2, 2, 2]), np.array([0, 1, 3]), 0.5).tolist()
               [2.0, 1.5, 1.5]
    """
    return logits - np.float32(penalty) * (counts > 0).astype(np.float32)


def temperature(logits: Logits, value: float) -> Logits:
    """Sharpen (below 1) or flatten (above 1) the distribution. The result has a maximum of 0.

    Meaning:   (logits − max) / value; 0 is greedy: only the argmax is kept.
    Boundary:  a value below the smallest normal float32 counts as 0: accelerators flush it to 0,
               and 0/0 is NaN.
    Ties:      greedy keeps the lowest id.
    Off value: 1 (which still moves the maximum to 0, and so changes no probability).
    Source:    Ackley, Hinton and Sejnowski 1985, as the temperature of a Boltzmann distribution.
    Example:   0.5 doubles the distance to the maximum; 0 keeps the first of two equal logits.
               >>> temperature(np.float32([3, 2, 3]), 0.5).tolist()
               [0.0, -2.0, 0.0]
               >>> temperature(np.float32([3, 2, 3]), 0).tolist()
               [0.0, -inf, -inf]
    """
    if value < MIN_TEMPERATURE:
        greedy = np.full_like(logits, NEG_INF)
        greedy[np.argmax(logits)] = 0
        return greedy
    with np.errstate(over="ignore"):  # −inf is the right result: a probability of 0
        return (logits - logits.max()) / np.float32(value)


def min_p(logits: Logits, fraction: float) -> Logits:
    """Drop the tokens that are much less likely than the argmax. Expects a maximum of 0.

    Meaning:   keep p ≥ fraction · p_max; with a maximum of 0 that is exp(logit) ≥ fraction.
    Boundary:  a token exactly at the threshold is kept; 1 keeps only the tokens with p = p_max.
    Ties:      equal logits are kept or dropped together.
    Off value: 0.
    Source:    Nguyen et al. 2024, "Min-p sampling".
    Example:   p = (.5, .3, .15, .05); a fraction of .4 sets the threshold to .4 · .5 = .2.
               >>> logits = np.log(np.float32([0.5, 0.3, 0.15, 0.05]))
               >>> np.isfinite(min_p(logits - logits.max(), 0.4)).tolist()
               [True, True, False, False]
    """
    return np.where(np.exp(logits) >= np.float32(fraction), logits, NEG_INF)


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the k most likely tokens.

    Meaning:   keep the tokens whose logit is at least the k-th largest.
    Boundary:  k ≥ V keeps all.
    Ties:      every tie at the boundary is kept, so more than k tokens may be left.
    Off value: 0.
    Source:    Fan, Lewis and Dauphin 2018, "Hierarchical neural story generation", section 5.
    Example:   the second and third largest logits are equal: k = 2 keeps three tokens.
               >>> top_k(np.float32([1, 3, 0, 1]), 2).tolist()
               [1.0, 3.0, -inf, 1.0]
    """
    if not 0 < k < len(logits):
        return logits
    kth_largest = np.partition(logits, -k)[-k]
    return np.where(logits >= kth_largest, logits, NEG_INF)


def top_p(logits: Logits, mass: float) -> Logits:
    """Nucleus sampling: keep the most likely tokens that together reach a probability mass.

    Meaning:   renormalize over the tokens that are left; keep the smallest set of probability
               levels, from the highest down, whose mass reaches `mass`.
    Boundary:  the level at which `mass` is reached is kept; 0 keeps the highest level.
    Ties:      a level is kept whole, so the set does not depend on the order of the tokens.
    Off value: 1.
    Source:    Holtzman et al. 2020, "The curious case of neural text degeneration", section 3.1.
    Example:   p = (.5, .3, .15, .05): .5 + .3 reaches .7, so two tokens are kept.
               >>> logits = np.log(np.float32([0.5, 0.3, 0.15, 0.05]))
               >>> np.isfinite(top_p(logits, 0.7)).tolist()
               [True, True, False, False]
    """
    if mass >= 1:
        return logits
    p = probabilities(logits)
    levels = np.sort(p)[::-1]
    cutoff = int(np.searchsorted(np.cumsum(levels), mass))
    # Rounding may leave the total below `mass`: then the last level is the cutoff.
    return np.where(p >= levels[min(cutoff, len(p) - 1)], logits, NEG_INF)


def probabilities(logits: Logits) -> Float64[np.ndarray, "V"]:
    """Compute the softmax, in float64 so that sums of many small terms do not drift.

    Dropped tokens have a probability of 0.
    """
    weights = np.exp((logits - logits.max()).astype(np.float64))
    return weights / weights.sum()
