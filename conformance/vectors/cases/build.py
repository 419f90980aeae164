"""Helpers: cases with margins and dialects, and values that are the same on every machine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.oracle.dialects import Chain, dialects_for
from conformance.oracle.prompt_search import perturbed
from conformance.vectors.lines import Case, array, floats
from conformance.vectors.margins import MIN_MARGIN
from conformance.vectors.reference import ANSWERS, PARAMETERS, Input, history_of, occurrences
from reference.logits import Logits
from reference.sampler import SamplingHistory, final_logits
from reference.threefry import draw_key, random_bits

# A dialect that needs more than the sampling history: the tokens of the prompt with their number.
PROMPT_OCCURRENCES = "frequency_penalty and presence_penalty over each occurrence in the prompt"
VISIBLE = 1e-3  # difference of two logits from which on a dialect has another result
TERMS = 12  # uniform numbers, whose sum is nearly normal


def uniform(seed: int, count: int) -> np.ndarray:
    """Return float64 numbers in (0, 1): Threefry's words, by exact arithmetic."""
    return (random_bits(draw_key(seed, 0, 0), count).astype(np.float64) + 0.5) * 2.0**-32


def normal(seed: int, count: int, scale: float = 3.0, grid: float = 0.125) -> Logits:
    """Return nearly normal numbers, rounded to multiples of `grid`: a coarse one gives ties."""
    total = uniform(seed, TERMS * count).reshape(TERMS, count).sum(axis=0) - TERMS / 2
    return (np.round(scale * total / grid) * grid).astype(np.float32)


def pick(seed: int, index: int, values: Sequence[Any]) -> Any:
    """Return one of the values, which depends on the seed and an index."""
    return values[int(uniform(seed, index + 1)[index] * len(values))]


def answer_case(
    family: str,
    name: str,
    case: Input,
    flags: Iterable[str] = (),
    comment: str = "",
    margin: float | None = None,
    dialects: Mapping[str, Mapping[str, Any]] | None = None,
) -> Case:
    """Return a case with the answer of the reference."""
    return Case(
        id=f"{family}/{name}",
        input=case,
        expect=ANSWERS[family](case),
        flags=tuple(sorted(flags)),
        comment=comment,
        margin=margin,
        dialects=dialects or {},
    )


def dialect_logits(case: Input) -> Iterator[tuple[str, Logits]]:
    """Yield the dialects whose final logits differ from the specified ones, and these logits. Those
    that depend on rounding are left out.
    """
    x = array(case["logits"])
    history = history_of(case, len(x))
    expected = final_logits(x, history)
    given = {name: case[name] for name in PARAMETERS if name in case}
    for dialect in dialects_for(given):
        final = dialect.final(x, history)
        if differs(expected, final) and is_stable(dialect.final, x, history, final):
            yield dialect.name, final
    if "frequency_penalty" in case:
        every = replace(history, counts=history.counts + occurrences(case["prompt"], len(x)))
        final = final_logits(x, every)
        if differs(expected, final) and is_stable(final_logits, x, every, final):
            yield PROMPT_OCCURRENCES, final


def differs(a: Logits, b: Logits) -> bool:
    """Return whether two results keep other tokens, or are not equal up to a constant."""
    kept = np.isfinite(a)
    if (kept != np.isfinite(b)).any():
        return True
    return float(np.abs((a - a.max())[kept] - (b - b.max())[kept]).max()) > VISIBLE


def is_stable(chain: Chain, x: Logits, history: SamplingHistory, final: Logits) -> bool:
    """Return whether small errors of the logits leave the kept tokens unchanged."""
    kept = np.isfinite(final)
    return all(
        (np.isfinite(chain(np.where(np.isfinite(x), y, x), history)) == kept).all()
        for y in perturbed(np.where(np.isfinite(x), x, np.float32(0)), MIN_MARGIN)
    )


def cut_ties(case: Input, name: str, final: Logits) -> dict[str, Any]:
    """Return the result of a dialect. If it cuts a tie, engines differ in which of the equal tokens
    are left: then only their number is given.
    """
    if not name.endswith("by rank: ties are cut"):
        return {"logits": shifted(final)}
    x, kept = array(case["logits"]), np.isfinite(final)
    tied = x == x[kept].min()
    return {
        "kept": np.flatnonzero(kept & ~tied).tolist(),
        "tied": np.flatnonzero(tied).tolist(),
        "tied_count": int((kept & tied).sum()),
    }


def shifted(x: Logits) -> list[float | None]:
    """Return logits with a maximum of 0, rounded, for a dialect."""
    return floats(np.where(np.isfinite(x), np.round((x - x.max()).astype(np.float64), 6), x))
