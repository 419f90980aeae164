"""One pure function per parameter that changes the logits: (V,) float32 in, (V,) float32 out, input
untouched.

A token that may not be chosen has the logit −inf. Each function treats such tokens as absent. The
functions are listed in the order in which `sampler.STEPS` applies them; every docstring has the
same five lines.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

Logits = Float32[np.ndarray, "V"]

NEG_INF = np.float32(-np.inf)
SMALLEST_TEMPERATURE = np.finfo(np.float32).tiny  # the smallest normal float32


def mask(logits: Logits, allowed: Bool[np.ndarray, "V"]) -> Logits:
    """Leave only the tokens that may come next.

    Meaning:   −inf where `allowed` is False.
    Boundary:  the caller sees to it that one token at least is allowed.
    Ties:      none to break.
    Off value: all True.
    Source:    this specification; which tokens are allowed is said in `sampler.allowed_tokens`.
    """
    return np.where(allowed, logits, NEG_INF)


def repetition_penalty(logits: Logits, seen: Bool[np.ndarray, "V"], penalty: float) -> Logits:
    """Make the tokens of the prompt and of the output less likely (penalty > 1) or more (< 1).

    Meaning:   for each token seen, a positive logit is divided by the penalty, any other multiplied
               by it.
    Boundary:  how often the token was seen does not matter; a logit of 0 stays 0.
    Ties:      none to break.
    Off value: 1.
    Source:    Keskar et al. 2019 (CTRL), section 4.1, with the sign rule of later implementations.
    """
    penalised = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(seen, penalised, logits).astype(np.float32)


def frequency_penalty(logits: Logits, counts: Int64[np.ndarray, "V"], penalty: float) -> Logits:
    """Subtract in proportion to how often a token stands in the output so far.

    Meaning:   logit − penalty · count.
    Boundary:  the prompt is not counted; a negative penalty encourages.
    Ties:      none to break.
    Off value: 0.
    Source:    OpenAI's API reference ("frequency and presence penalties").
    """
    return logits - np.float32(penalty) * counts.astype(np.float32)


def presence_penalty(logits: Logits, counts: Int64[np.ndarray, "V"], penalty: float) -> Logits:
    """Subtract once if a token stands in the output so far.

    Meaning:   logit − penalty · [count > 0].
    Boundary:  the prompt is not counted; a negative penalty encourages.
    Ties:      none to break.
    Off value: 0.
    Source:    OpenAI's API reference ("frequency and presence penalties").
    """
    return logits - np.float32(penalty) * (counts > 0).astype(np.float32)


def temperature(logits: Logits, value: float) -> Logits:
    """Sharpen (below 1) or flatten (above 1) the distribution. From here on the largest logit is 0.

    Meaning:   (logits − max) / value; 0 is greedy: only the likeliest token is left.
    Boundary:  a value below the smallest normal float32 is 0, for accelerators flush it and 0/0 is
               NaN.
    Ties:      greedy keeps the lowest id.
    Off value: 1 (which still moves the maximum to 0, and so changes no probability).
    Source:    Ackley, Hinton and Sejnowski 1985, as the temperature of a Boltzmann distribution.
    """
    if value < SMALLEST_TEMPERATURE:
        greedy = np.full_like(logits, NEG_INF)
        greedy[np.argmax(logits)] = 0
        return greedy
    with np.errstate(over="ignore"):  # to −inf, which is right: a probability of 0
        return (logits - logits.max()) / np.float32(value)


def min_p(logits: Logits, fraction: float) -> Logits:
    """Drop the tokens that are much less likely than the likeliest. Expects a maximum of 0.

    Meaning:   keep p ≥ fraction · p_max; with a maximum of 0 that is exp(logit) ≥ fraction.
    Boundary:  a token exactly at the threshold stays; 1 keeps only those as likely as the
               likeliest.
    Ties:      equal logits are kept or dropped together.
    Off value: 0.
    Source:    Nguyen et al. 2024, "Min-p sampling".
    """
    return np.where(np.exp(logits) >= np.float32(fraction), logits, NEG_INF)


def top_k(logits: Logits, k: int) -> Logits:
    """Keep the k likeliest tokens.

    Meaning:   keep the tokens whose logit is at least the k-th largest.
    Boundary:  k ≥ V keeps all.
    Ties:      every tie at the boundary stays, so more than k tokens may be left.
    Off value: 0.
    Source:    Fan, Lewis and Dauphin 2018, "Hierarchical neural story generation", section 5.
    """
    if not 0 < k < len(logits):
        return logits
    kth_largest = np.partition(logits, -k)[-k]
    return np.where(logits >= kth_largest, logits, NEG_INF)


def top_p(logits: Logits, mass: float) -> Logits:
    """Nucleus sampling: keep the likeliest tokens that together reach a probability mass.

    Meaning:   of the survivors' renormalised distribution keep the smallest set of probability
               levels, from the highest down, whose mass reaches `mass`.
    Boundary:  the level that crosses `mass` is kept; 0 keeps the highest level.
    Ties:      a level is kept whole, so the set does not depend on the order of the tokens.
    Off value: 1.
    Source:    Holtzman et al. 2020, "The curious case of neural text degeneration", section 3.1.
    """
    if mass >= 1:
        return logits
    p = probabilities(logits)
    levels = np.sort(p)[::-1]
    crossing = int(np.searchsorted(np.cumsum(levels), mass))
    return np.where(p >= levels[min(crossing, len(p) - 1)], logits, NEG_INF)


def probabilities(logits: Logits) -> Float64[np.ndarray, "V"]:
    """The softmax, in float64 so that sums of many small terms do not drift. Dropped tokens have
    0.
    """
    weights = np.exp((logits - logits.max()).astype(np.float64))
    return weights / weights.sum()
