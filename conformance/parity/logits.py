"""Each step of the sampler by itself: rows that each have a parameter of their own.

What a truncation keeps is compared exactly, but for tokens within the tolerance of its line: those
may stay or go. Ties stay or go together in any case.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.strategies import (
    PENALTIES,
    REPETITION_PENALTIES,
    ROWS,
    TEMPERATURES,
    B,
    V,
    allowed,
    per_row,
    single,
    truncatable,
    with_fraction,
    with_history,
    with_mass,
)
from conformance.parity.harness.tolerance import FLUSHED, ULPS, close, same
from jax_backend import logits as l
from reference import logits as spec
from reference.logits import Logits

Example = dict[str, Any]


def mask(example: Example, tally: Tally) -> None:
    """Tokens that may not come next are gone, the others are as they were."""
    x, may = example["x"], example["allowed"]
    found = compiled(l.mask)(x, may)
    for i in range(B):
        same(found[i], spec.mask(x[i], may[i]))


def repetition_penalty(example: Example, tally: Tally) -> None:
    """The repetition penalty moves the tokens that were seen as the reference does."""
    (x, seen), penalty = history(example, "seen"), example["penalty"]
    found = compiled(l.repetition_penalty)(x, seen, single(penalty))
    for i in range(B):
        close(found[i], spec.repetition_penalty(x[i], seen[i], penalty[i]))


def frequency_penalty(example: Example, tally: Tally) -> None:
    """The frequency penalty is subtracted once for each occurrence in the output."""
    (x, counts), penalty = history(example, "counts"), example["penalty"]
    found = compiled(l.frequency_penalty)(x, counts, single(penalty))
    for i in range(B):
        expected = spec.frequency_penalty(x[i], counts[i].astype(np.int64), penalty[i])
        close(found[i], expected, size=np.abs(x[i]))


def presence_penalty(example: Example, tally: Tally) -> None:
    """The presence penalty is subtracted once from the tokens of the output."""
    (x, counts), penalty = history(example, "counts"), example["penalty"]
    found = compiled(l.presence_penalty)(x, counts, single(penalty))
    for i in range(B):
        expected = spec.presence_penalty(x[i], counts[i].astype(np.int64), penalty[i])
        close(found[i], expected, size=np.abs(x[i]))


def history(example: Example, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The logits, with −inf where a token may not come, and what a penalty looks back on."""
    drawn = example["history"]
    return np.where(example["allowed"], drawn["x"], spec.NEG_INF), drawn[name]


def temperature(example: Example, tally: Tally) -> None:
    """Temperature scales what lies below the maximum; 0 leaves the first of the likeliest."""
    x, value = np.where(example["allowed"], example["x"], spec.NEG_INF), example["value"]
    found = compiled(l.temperature)(x, single(value))
    for i in range(B):
        close(found[i], spec.temperature(x[i], value[i]))


def min_p(example: Example, tally: Tally) -> None:
    """min_p keeps the tokens that are likely enough, relative to the likeliest."""
    x, fraction = example["x"], example["fraction"]
    found = compiled(l.min_p)(x, single(fraction))
    for i in range(B):
        legal_min_p(x[i], fraction[i], found[i], tally)


def top_k(example: Example, tally: Tally) -> None:
    """top_k keeps the k likeliest tokens and all that tie with the last of them."""
    x, k = example["x"], example["k"]
    found = compiled(l.top_k)(x, np.array(k, np.int32))
    for i in range(B):
        same(found[i], spec.top_k(x[i], k[i]))


def top_p(example: Example, tally: Tally) -> None:
    """top_p keeps the highest levels that reach the mass, the crossing one included."""
    x, mass = example["x"], example["mass"]
    found = compiled(l.top_p)(x, single(mass))
    for i in range(B):
        legal_top_p(x[i], mass[i], found[i], tally)


def kept_of(x: Logits, found: Any) -> np.ndarray:
    """(V,) bool: which of the tokens with a finite logit a truncation has left, untouched. Raises
    AssertionError if it left a token and not one that is as likely.
    """
    found = np.asarray(found)
    kept: np.ndarray = np.isfinite(found)
    same(found, np.where(kept, x, spec.NEG_INF), "kept tokens")
    lowest = x[kept].min(initial=np.inf)
    assert not ((x >= lowest) & ~kept).any(), f"{x[kept]} kept, and not all of {x}"
    return kept


def legal_min_p(x: Logits, fraction: float, found: Any, tally: Tally) -> None:
    """Raises AssertionError unless min_p may have left this of x, whose maximum is 0.

    Where both sides are so small that an accelerator has only 0 for them, nothing is sure.
    """
    kept, expected = kept_of(x, found), np.isfinite(spec.min_p(x, fraction))
    line = float(np.float32(fraction))
    p = np.exp(x.astype(np.float64))
    near = np.isfinite(x) & (np.abs(p - line) <= ULPS * line) & (x < 0)
    near |= np.isfinite(x) & (p < FLUSHED) & (0 < line) & (line < FLUSHED)
    same(kept[~near], expected[~near], "min_p keeps")
    tally.decided(int(near.sum()), int((kept != expected).sum()))


def legal_top_p(x: Logits, mass: float, found: Any, tally: Tally) -> None:
    """Raises AssertionError unless top_p may have left this of x: with its lowest level the kept
    tokens reach the mass, without it they do not, either within the tolerance.

    Logits so close to each other that their probabilities are equal may be one level or several.
    """
    kept, expected = kept_of(x, found), np.isfinite(spec.top_p(x, mass))
    if mass >= 1:
        return same(kept, np.isfinite(x), "top_p keeps")
    p = spec.probabilities(x)
    above = kept & (x > x[kept].min())
    reached, short = p[kept].sum(), p[above].sum()
    assert reached >= mass - ULPS, f"top_p: {reached} of {mass} kept"
    assert short < mass + ULPS or not above.any(), f"top_p: {short} of {mass} would do"
    levels = np.unique(x[np.isfinite(x)])
    near = any(abs(p[x >= level].sum() - mass) <= ULPS for level in levels)
    probabilities = np.exp(levels.astype(np.float64))
    near |= (np.diff(probabilities[probabilities > 0]) == 0).any()
    if not near:
        same(kept, expected, "top_p keeps")
    tally.decided(int(near), int((kept != expected).any()))


def examples(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Example]:
    return st.fixed_dictionaries(fields)


def penalised(penalties: st.SearchStrategy[float]) -> st.SearchStrategy[Example]:
    return examples(history=with_history(), allowed=allowed(), penalty=per_row(penalties))


VALUE = st.one_of(TEMPERATURES, st.sampled_from([1e-30, FLUSHED]))

PROPERTIES = (
    Property("logits/mask", examples(x=ROWS, allowed=allowed()), mask),
    Property("logits/repetition_penalty", penalised(REPETITION_PENALTIES), repetition_penalty),
    Property("logits/frequency_penalty", penalised(PENALTIES), frequency_penalty),
    Property("logits/presence_penalty", penalised(PENALTIES), presence_penalty),
    Property(
        "logits/temperature",
        examples(x=ROWS, allowed=allowed(), value=per_row(VALUE)),
        temperature,
    ),
    Property("logits/min_p", with_fraction(), min_p),
    Property("logits/top_k", examples(x=truncatable(), k=per_row(st.integers(0, V + 3))), top_k),
    Property("logits/top_p", with_mass(), top_p),
)
