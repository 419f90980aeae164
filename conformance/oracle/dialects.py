"""Ways of other engines to turn logits into a distribution, each by its name.

A dialect is the reference's chain of steps with something else in it: another order, another rule
at the line, other tokens that a penalty counts. Where engines do so is said in docs/decisions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from reference import logits as l
from reference.logits import Logits
from reference.params import CompletionParams
from reference.sampler import STEPS, SamplingHistory, Step, final_logits

Chain = Callable[[Logits, SamplingHistory], Logits]
REFERENCE: Mapping[str, Step] = dict(STEPS)
NAMES = tuple(REFERENCE)
HUGE = 1e30  # what float32 can hold, also after a temperature
TRUNCATION = ("min_p", "top_k", "top_p")


@dataclass(frozen=True)
class Dialect:
    """concerns: the parameters whose meaning it changes."""

    name: str
    concerns: frozenset[str]
    final: Chain


def chain(order: tuple[str, ...] = NAMES, **changed: Step) -> Chain:
    """All steps in an order, some of them changed."""
    steps = {**REFERENCE, "shift": shift, **changed}

    def final(logits: Logits, history: SamplingHistory) -> Logits:
        for name in order:
            logits = steps[name](logits, history)
        return logits

    return final


def shift(x: Logits, h: SamplingHistory) -> Logits:
    """What `temperature` does beside its work: min_p expects a maximum of 0."""
    return l.temperature(x, 1.0)


def scale(x: Logits, h: SamplingHistory) -> Logits:
    """What `temperature` does, but that the maximum is where it was."""
    value = h.params.temperature
    return x if value < l.SMALLEST_TEMPERATURE else x / np.float32(value)


def temperature_last(x: Logits, h: SamplingHistory) -> Logits:
    """Truncation sees the distribution at temperature 1."""
    order = (*NAMES[:4], "shift", *TRUNCATION, "temperature")
    return chain(order)(x, h)


def crossing_dropped(x: Logits, h: SamplingHistory) -> Logits:
    """Only whole levels below the mass are kept, and the likeliest."""
    p, mass = l.probabilities(x), h.params.top_p
    if mass >= 1:
        return x
    order = np.argsort(-p, kind="stable")
    below = np.zeros(len(p), np.bool_)
    below[order] = np.cumsum(p[order]) <= mass
    below[order[0]] = True
    return np.where(below, x, l.NEG_INF)


def top_p_by_rank(x: Logits, h: SamplingHistory) -> Logits:
    """Sorted, lowest id first among equals, and cut: ties at the boundary are not kept."""
    p, mass = l.probabilities(x), h.params.top_p
    if mass >= 1:
        return x
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    kept = np.zeros(len(p), np.bool_)
    kept[order] = before < mass
    kept[order[0]] = True
    return np.where(kept, x, l.NEG_INF)


def top_k_by_rank(x: Logits, h: SamplingHistory) -> Logits:
    """Exactly k, the lowest ids among equals."""
    if not 0 < h.params.top_k < len(x):
        return x
    kept = np.argsort(-x, kind="stable")[: h.params.top_k]
    cut = np.full_like(x, l.NEG_INF)
    cut[kept] = x[kept]
    return cut


def top_p_of_everything(x: Logits, h: SamplingHistory) -> Logits:
    """The nucleus is the one of the distribution before min_p and top_k."""
    scaled = chain(NAMES[:5])(x, h)
    nucleus = l.top_p(scaled, h.params.top_p)
    rest = chain(("min_p", "top_k"))(scaled, h)
    return np.where(np.isfinite(nucleus), rest, l.NEG_INF)


def min_p_absolute(x: Logits, h: SamplingHistory) -> Logits:
    """The threshold is a probability, whatever the likeliest token has. That one stays."""
    p = l.probabilities(x)
    return np.where((p >= h.params.min_p) | (p == p.max()), x, l.NEG_INF)


def min_p_strict(x: Logits, h: SamplingHistory) -> Logits:
    """A token exactly at the threshold is dropped, but for the first of the likeliest."""
    above = np.exp(x) > np.float32(h.params.min_p)
    above[np.argmax(x)] = True
    return np.where(above | (h.params.min_p == 0), x, l.NEG_INF)


def repetition_of(tokens: Callable[[SamplingHistory], np.ndarray]) -> Step:
    return lambda x, h: l.repetition_penalty(x, tokens(h), h.params.repetition_penalty)


def dividing(x: Logits, h: SamplingHistory) -> Logits:
    """The penalty divides, whatever the sign: negative logits become likelier."""
    penalised = (x / np.float32(h.params.repetition_penalty)).astype(np.float32)
    return np.where(h.seen, penalised, x)


def per_occurrence(x: Logits, h: SamplingHistory) -> Logits:
    """The penalty acts once for each time that a token was seen."""
    times = np.maximum(h.counts, h.seen)
    factor = h.params.repetition_penalty ** times.astype(np.float64)
    return np.clip(np.where(x > 0, x / factor, x * factor), -HUGE, HUGE).astype(np.float32)


def of_prompt_too(name: str) -> Step:
    """A penalty of the output that counts each token of the prompt as well, once."""

    def step(x: Logits, h: SamplingHistory) -> Logits:
        only_prompt = h.seen & (h.counts == 0)
        return REFERENCE[name](x, replace(h, counts=h.counts + only_prompt))

    return step


def as_presence(x: Logits, h: SamplingHistory) -> Logits:
    """frequency_penalty, once for each token."""
    return l.presence_penalty(x, h.counts, h.params.frequency_penalty)


def as_frequency(x: Logits, h: SamplingHistory) -> Logits:
    """presence_penalty, once for each occurrence."""
    return l.frequency_penalty(x, h.counts, h.params.presence_penalty)


def dialect(name: str, concerns: str, final: Chain) -> Dialect:
    return Dialect(name, frozenset(concerns.split()), final)


def after_penalties(*order: str) -> Chain:
    return chain((*NAMES[:4], *order))


DIALECTS: tuple[Dialect, ...] = (
    dialect("temperature after truncation", "temperature min_p top_k top_p", temperature_last),
    dialect("top_p without the crossing token", "top_p", chain(top_p=crossing_dropped)),
    dialect("top_p by rank: ties are cut", "top_p", chain(top_p=top_p_by_rank)),
    dialect("top_k by rank: ties are cut", "top_k", chain(top_k=top_k_by_rank)),
    dialect("top_p of the whole distribution", "top_p top_k min_p", top_p_of_everything),
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
        chain(repetition_penalty=repetition_of(lambda h: h.counts > 0)),
    ),
    dialect(
        "repetition_penalty over the prompt only",
        "repetition_penalty",
        chain(repetition_penalty=repetition_of(lambda h: h.seen & (h.counts == 0))),
    ),
    dialect(
        "repetition_penalty divides negative logits too",
        "repetition_penalty",
        chain(repetition_penalty=dividing),
    ),
    dialect(
        "repetition_penalty once for each occurrence",
        "repetition_penalty",
        chain(repetition_penalty=per_occurrence),
    ),
    dialect(
        "frequency_penalty over the prompt too",
        "frequency_penalty",
        chain(frequency_penalty=of_prompt_too("frequency_penalty")),
    ),
    dialect(
        "presence_penalty over the prompt too",
        "presence_penalty",
        chain(presence_penalty=of_prompt_too("presence_penalty")),
    ),
    dialect(
        "presence_penalty and frequency_penalty the one for the other",
        "frequency_penalty presence_penalty",
        chain(frequency_penalty=as_presence, presence_penalty=as_frequency),
    ),
    dialect(
        "penalties after the temperature",
        "temperature repetition_penalty frequency_penalty presence_penalty",
        chain(("response_format", "scale", *NAMES[1:4], "shift", *TRUNCATION), scale=scale),
    ),
    dialect(
        "repetition_penalty after the other penalties",
        "repetition_penalty frequency_penalty presence_penalty",
        chain(
            ("response_format", "frequency_penalty", "presence_penalty", "repetition_penalty")
            + NAMES[4:]
        ),
    ),
)


def dialects_of(parameters: Mapping[str, object]) -> list[Dialect]:
    """Those that concern a parameter of a request."""
    return [d for d in DIALECTS if d.concerns & parameters.keys()]


def ignoring(name: str) -> Chain:
    """The reference's chain, as if a parameter had been left out."""
    if name == "response_format":
        return lambda x, h: final_logits(x, replace(h, allowed=np.ones_like(h.allowed)))
    default = {name: getattr(CompletionParams(), name)}
    return lambda x, h: final_logits(x, replace(h, params=replace(h.params, **default)))
