"""Each step of the sampler on its own, with separate parameters in each row.

Truncation results are compared exactly, except for tokens within the tolerance of the threshold,
which may be kept or dropped. Ties are kept or dropped together in any case.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.strategies import (
    LOGITS,
    PENALTIES,
    REPETITION_PENALTIES,
    TEMPERATURES,
    B,
    V,
    allowed,
    float32,
    per_row,
    truncatable,
    with_fraction,
    with_history,
    with_mass,
)
from conformance.parity.harness.tolerance import MIN_NORMAL, ULPS, assert_close, assert_equal
from jax_backend import logits
from reference import logits as spec
from reference.logits import Logits

Example = dict[str, Any]


def mask(example: Example, coverage: Coverage) -> None:
    """The mask removes disallowed tokens and leaves the others unchanged."""
    x, allowed = example["x"], example["allowed"]
    actual = compiled(logits.mask)(x, allowed)
    for i in range(B):
        assert_equal(actual[i], spec.mask(x[i], allowed[i]))


def repetition_penalty(example: Example, coverage: Coverage) -> None:
    """The repetition penalty changes the tokens present as the reference does."""
    (x, present), penalty = penalty_inputs(example, "present"), example["penalty"]
    actual = compiled(logits.repetition_penalty)(x, present, float32(penalty))
    for i in range(B):
        assert_close(actual[i], spec.repetition_penalty(x[i], present[i], penalty[i]))


def frequency_penalty(example: Example, coverage: Coverage) -> None:
    """The frequency penalty is subtracted once for each occurrence in the output."""
    (x, counts), penalty = penalty_inputs(example, "counts"), example["penalty"]
    actual = compiled(logits.frequency_penalty)(x, counts, float32(penalty))
    for i in range(B):
        expected = spec.frequency_penalty(x[i], counts[i].astype(np.int64), penalty[i])
        assert_close(actual[i], expected, size=np.abs(x[i]))


def presence_penalty(example: Example, coverage: Coverage) -> None:
    """The presence penalty is subtracted once from the tokens of the output."""
    (x, counts), penalty = penalty_inputs(example, "counts"), example["penalty"]
    actual = compiled(logits.presence_penalty)(x, counts, float32(penalty))
    for i in range(B):
        expected = spec.presence_penalty(x[i], counts[i].astype(np.int64), penalty[i])
        assert_close(actual[i], expected, size=np.abs(x[i]))


def penalty_inputs(example: Example, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the masked logits, and the part of the history that a penalty uses."""
    history = example["history"]
    return np.where(example["allowed"], history["x"], spec.NEG_INF), history[name]


def temperature(example: Example, coverage: Coverage) -> None:
    """Temperature scales the logits relative to the maximum; 0 leaves the argmax only."""
    x, value = np.where(example["allowed"], example["x"], spec.NEG_INF), example["value"]
    actual = compiled(logits.temperature)(x, float32(value))
    for i in range(B):
        assert_close(actual[i], spec.temperature(x[i], value[i]))


def min_p(example: Example, coverage: Coverage) -> None:
    """min_p keeps the tokens that are likely enough, relative to the maximum."""
    x, fraction = example["x"], example["fraction"]
    actual = compiled(logits.min_p)(x, float32(fraction))
    for i in range(B):
        check_min_p(x[i], fraction[i], actual[i], coverage)


def top_k(example: Example, coverage: Coverage) -> None:
    """top_k keeps the k most likely tokens and all that tie with the last of them."""
    x, k = example["x"], example["k"]
    actual = compiled(logits.top_k)(x, np.array(k, np.int32))
    for i in range(B):
        assert_equal(actual[i], spec.top_k(x[i], k[i]))


def top_p(example: Example, coverage: Coverage) -> None:
    """top_p keeps the most likely tokens that reach the mass, the one that crosses it included."""
    x, mass = example["x"], example["mass"]
    actual = compiled(logits.top_p)(x, float32(mass))
    for i in range(B):
        check_top_p(x[i], mass[i], actual[i], coverage)


def kept_tokens(x: Logits, actual: Any) -> np.ndarray:
    """Return the (V,) mask of the tokens that a truncation has kept. Raises AssertionError if their
    logits changed, or if it dropped a token that is as likely as one that it kept.
    """
    actual = np.asarray(actual)
    kept: np.ndarray = np.isfinite(actual)
    assert_equal(actual, np.where(kept, x, spec.NEG_INF), "kept tokens")
    lowest = x[kept].min(initial=np.inf)
    assert not ((x >= lowest) & ~kept).any(), f"only {x[kept]} kept of {x}"
    return kept


def check_min_p(x: Logits, fraction: float, actual: Any, coverage: Coverage) -> None:
    """Assert that min_p may keep these tokens of x, whose maximum is 0.

    The comparison is borderline, too, if an accelerator flushes both sides to 0.
    """
    kept, expected = kept_tokens(x, actual), np.isfinite(spec.min_p(x, fraction))
    threshold = float(np.float32(fraction))
    p = np.exp(x.astype(np.float64))
    borderline = np.isfinite(x) & (np.abs(p - threshold) <= ULPS * threshold) & (x < 0)
    flushed = (p < MIN_NORMAL) & (0 < threshold) & (threshold < MIN_NORMAL)
    borderline |= np.isfinite(x) & flushed
    assert_equal(kept[~borderline], expected[~borderline], "min_p keeps")
    coverage.add_decisions(int(borderline.sum()), int((kept != expected).sum()))


def check_top_p(x: Logits, mass: float, actual: Any, coverage: Coverage) -> None:
    """Assert that top_p may keep these tokens of x: they reach the mass, and without those of the
    lowest kept logit they do not, both within the tolerance.

    The result is borderline, too, if different logits have equal probabilities: they may be kept or
    dropped together or one by one.
    """
    kept, expected = kept_tokens(x, actual), np.isfinite(spec.top_p(x, mass))
    if mass >= 1:
        return assert_equal(kept, np.isfinite(x), "top_p keeps")
    p = spec.probabilities(x)
    above = kept & (x > x[kept].min())
    kept_mass, mass_above = p[kept].sum(), p[above].sum()
    assert kept_mass >= mass - ULPS, f"top_p: the kept mass {kept_mass} is below {mass}"
    needed = mass_above < mass + ULPS or not above.any()
    assert needed, f"top_p: the mass {mass_above} already reaches {mass}"
    levels = np.unique(x[np.isfinite(x)])
    borderline = any(abs(p[x >= level].sum() - mass) <= ULPS for level in levels)
    probabilities = np.exp(levels.astype(np.float64))
    borderline |= (np.diff(probabilities[probabilities > 0]) == 0).any()
    if not borderline:
        assert_equal(kept, expected, "top_p keeps")
    coverage.add_decisions(int(borderline), int((kept != expected).any()))


def examples(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Example]:
    return st.fixed_dictionaries(fields)


def penalty_examples(penalties: st.SearchStrategy[float]) -> st.SearchStrategy[Example]:
    return examples(history=with_history(), allowed=allowed(), penalty=per_row(penalties))


VALUE = st.one_of(TEMPERATURES, st.sampled_from([1e-30, MIN_NORMAL]))

PROPERTIES = (
    Property("logits/mask", examples(x=LOGITS, allowed=allowed()), mask),
    Property(
        "logits/repetition_penalty", penalty_examples(REPETITION_PENALTIES), repetition_penalty
    ),
    Property("logits/frequency_penalty", penalty_examples(PENALTIES), frequency_penalty),
    Property("logits/presence_penalty", penalty_examples(PENALTIES), presence_penalty),
    Property(
        "logits/temperature",
        examples(x=LOGITS, allowed=allowed(), value=per_row(VALUE)),
        temperature,
    ),
    Property("logits/min_p", with_fraction(), min_p),
    Property("logits/top_k", examples(x=truncatable(), k=per_row(st.integers(0, V + 3))), top_k),
    Property("logits/top_p", with_mass(), top_p),
)
