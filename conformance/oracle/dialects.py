"""Dialects: known deviations of other engines, each by its name.

A dialect is the reference's chain of steps from logits to a distribution with one change: another
order, another rule at a threshold, other tokens that a penalty counts. docs/decisions names the
engines.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from reference.logits import (
    MIN_TEMPERATURE,
    NEG_INF,
    Logits,
    frequency_penalty,
    presence_penalty,
    probabilities,
    repetition_penalty,
    temperature,
    top_p,
)
from reference.params import CompletionParams
from reference.sampler import STEPS, SamplingHistory, Step, final_logits

Chain = Callable[[Logits, SamplingHistory], Logits]
REFERENCE: Mapping[str, Step] = dict(STEPS)
STEP_NAMES = tuple(REFERENCE)
MAX_LOGIT = 1e30  # float32 can represent it even after division by a temperature
TRUNCATION = ("min_p", "top_k", "top_p")


@dataclass(frozen=True)
class Dialect:
    """A deviation. concerns: the parameters whose meaning it changes. final: its chain."""

    name: str
    concerns: frozenset[str]
    final: Chain


def chain(order: tuple[str, ...] = STEP_NAMES, **changed: Step) -> Chain:
    """Compose all steps in an order, some of them changed."""
    steps = {**REFERENCE, "shift": shift_maximum_to_zero, **changed}

    def final(logits: Logits, history: SamplingHistory) -> Logits:
        for name in order:
            logits = steps[name](logits, history)
        return logits

    return final


def shift_maximum_to_zero(x: Logits, h: SamplingHistory) -> Logits:
    """Shift logits as `temperature` does, without scaling: min_p expects a maximum of 0."""
    return temperature(x, 1.0)


def divide_by_temperature(x: Logits, h: SamplingHistory) -> Logits:
    """Scale logits as `temperature` does, without shifting their maximum."""
    value = h.params.temperature
    return x if value < MIN_TEMPERATURE else x / np.float32(value)


def temperature_last(x: Logits, h: SamplingHistory) -> Logits:
    """Truncate the distribution at temperature 1, then apply the temperature."""
    order = (*STEP_NAMES[:4], "shift", *TRUNCATION, "temperature")
    return chain(order)(x, h)


def top_p_without_crossing_token(x: Logits, h: SamplingHistory) -> Logits:
    """Keep only tokens whose cumulative mass is at most top_p, and the argmax."""
    p, mass = probabilities(x), h.params.top_p
    if mass >= 1:
        return x
    order = np.argsort(-p, kind="stable")
    below = np.zeros(len(p), np.bool_)
    below[order] = np.cumsum(p[order]) <= mass
    below[order[0]] = True
    return np.where(below, x, NEG_INF)


def top_p_by_rank(x: Logits, h: SamplingHistory) -> Logits:
    """Sort by probability, then id, and cut: ties at the boundary are not kept."""
    p, mass = probabilities(x), h.params.top_p
    if mass >= 1:
        return x
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    kept = np.zeros(len(p), np.bool_)
    kept[order] = before < mass
    kept[order[0]] = True
    return np.where(kept, x, NEG_INF)


def top_k_by_rank(x: Logits, h: SamplingHistory) -> Logits:
    """Keep exactly k tokens, with the lowest ids among ties."""
    if not 0 < h.params.top_k < len(x):
        return x
    kept = np.argsort(-x, kind="stable")[: h.params.top_k]
    cut = np.full_like(x, NEG_INF)
    cut[kept] = x[kept]
    return cut


def top_p_before_truncation(x: Logits, h: SamplingHistory) -> Logits:
    """Take the nucleus of the distribution before min_p and top_k."""
    scaled = chain(STEP_NAMES[:5])(x, h)
    nucleus = top_p(scaled, h.params.top_p)
    rest = chain(("min_p", "top_k"))(scaled, h)
    return np.where(np.isfinite(nucleus), rest, NEG_INF)


def min_p_absolute(x: Logits, h: SamplingHistory) -> Logits:
    """Use min_p as an absolute probability; the argmax always stays."""
    p = probabilities(x)
    return np.where((p >= h.params.min_p) | (p == p.max()), x, NEG_INF)


def min_p_strict(x: Logits, h: SamplingHistory) -> Logits:
    """Drop tokens exactly at the threshold, except the first argmax."""
    above = np.exp(x) > np.float32(h.params.min_p)
    above[np.argmax(x)] = True
    return np.where(above | (h.params.min_p == 0), x, NEG_INF)


def repetition_penalty_over(tokens: Callable[[SamplingHistory], np.ndarray]) -> Step:
    """Apply the penalty to another set of tokens."""
    return lambda x, h: repetition_penalty(x, tokens(h), h.params.repetition_penalty)


def repetition_always_divides(x: Logits, h: SamplingHistory) -> Logits:
    """Divide logits of either sign: tokens with negative logits become more likely."""
    penalized = (x / np.float32(h.params.repetition_penalty)).astype(np.float32)
    return np.where(h.present, penalized, x)


def repetition_per_occurrence(x: Logits, h: SamplingHistory) -> Logits:
    """Apply the penalty once for each occurrence of a token."""
    times = np.maximum(h.counts, h.present)
    factor = h.params.repetition_penalty ** times.astype(np.float64)
    return np.clip(np.where(x > 0, x / factor, x * factor), -MAX_LOGIT, MAX_LOGIT).astype(
        np.float32
    )


def penalty_over_prompt_too(name: str) -> Step:
    """Count each token of the prompt once, in a penalty of the output."""

    def step(x: Logits, h: SamplingHistory) -> Logits:
        only_prompt = h.present & (h.counts == 0)
        return REFERENCE[name](x, replace(h, counts=h.counts + only_prompt))

    return step


def frequency_as_presence(x: Logits, h: SamplingHistory) -> Logits:
    """Subtract frequency_penalty once for each token."""
    return presence_penalty(x, h.counts, h.params.frequency_penalty)


def presence_as_frequency(x: Logits, h: SamplingHistory) -> Logits:
    """Subtract presence_penalty once for each occurrence."""
    return frequency_penalty(x, h.counts, h.params.presence_penalty)


def dialect(name: str, concerns: str, final: Chain) -> Dialect:
    """Build a dialect. concerns: names of parameters, separated by spaces."""
    return Dialect(name, frozenset(concerns.split()), final)


def after_penalties(*order: str) -> Chain:
    return chain((*STEP_NAMES[:4], *order))


DIALECTS: tuple[Dialect, ...] = (
    dialect("temperature after truncation", "temperature min_p top_k top_p", temperature_last),
    dialect("top_p without the crossing token", "top_p", chain(top_p=top_p_without_crossing_token)),
    dialect("top_p by rank: ties are cut", "top_p", chain(top_p=top_p_by_rank)),
    dialect("top_k by rank: ties are cut", "top_k", chain(top_k=top_k_by_rank)),
    dialect("top_p of the whole distribution", "top_p top_k min_p", top_p_before_truncation),
    dialect(
        "top_p before top_k",
        "top_p top_k",
        after_penalties("temperature", "min_p", "top_p", "top_k"),
    ),
    dialect("min_p of the probability itself", "min_p", chain(min_p=min_p_absolute)),
    dialect("min_p by >: ties are cut", "min_p", chain(min_p=min_p_strict)),
    dialect(
        "min_p last", "min_p top_p top_k", after_penalties("temperature", "top_k", "top_p", "min_p")
    ),
    dialect(
        "repetition_penalty over the output only",
        "repetition_penalty",
        chain(repetition_penalty=repetition_penalty_over(lambda h: h.counts > 0)),
    ),
    dialect(
        "repetition_penalty over the prompt only",
        "repetition_penalty",
        chain(repetition_penalty=repetition_penalty_over(lambda h: h.present & (h.counts == 0))),
    ),
    dialect(
        "repetition_penalty divides negative logits too",
        "repetition_penalty",
        chain(repetition_penalty=repetition_always_divides),
    ),
    dialect(
        "repetition_penalty once for each occurrence",
        "repetition_penalty",
        chain(repetition_penalty=repetition_per_occurrence),
    ),
    dialect(
        "frequency_penalty over the prompt too",
        "frequency_penalty",
        chain(frequency_penalty=penalty_over_prompt_too("frequency_penalty")),
    ),
    dialect(
        "presence_penalty over the prompt too",
        "presence_penalty",
        chain(presence_penalty=penalty_over_prompt_too("presence_penalty")),
    ),
    dialect(
        "presence_penalty and frequency_penalty swapped",
        "frequency_penalty presence_penalty",
        chain(frequency_penalty=frequency_as_presence, presence_penalty=presence_as_frequency),
    ),
    dialect(
        "penalties after the temperature",
        "temperature repetition_penalty frequency_penalty presence_penalty",
        chain(
            ("response_format", "scale", *STEP_NAMES[1:4], "shift", *TRUNCATION),
            scale=divide_by_temperature,
        ),
    ),
    dialect(
        "repetition_penalty after the other penalties",
        "repetition_penalty frequency_penalty presence_penalty",
        chain(
            ("response_format", "frequency_penalty", "presence_penalty", "repetition_penalty")
            + STEP_NAMES[4:]
        ),
    ),
)


def dialects_for(parameters: Mapping[str, object]) -> list[Dialect]:
    """Return the dialects that concern a parameter of a request."""
    return [d for d in DIALECTS if d.concerns & parameters.keys()]


def dialects_named(names: Iterable[str]) -> list[Dialect]:
    """Return dialects by their names, all of which must exist."""
    wanted = set(names)
    named = [d for d in DIALECTS if d.name in wanted]
    assert len(named) == len(wanted), f"unknown among {wanted}"
    return named


def without_parameter(name: str) -> Chain:
    """Return the reference's chain with one parameter at its default."""
    if name == "response_format":
        return lambda x, h: final_logits(x, replace(h, allowed=np.ones_like(h.allowed)))
    default = {name: getattr(CompletionParams(), name)}
    return lambda x, h: final_logits(x, replace(h, params=replace(h.params, **default)))
