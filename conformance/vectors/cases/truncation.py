"""The steps that drop tokens: min_p, top_k, top_p. Their input may have any maximum."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from conformance.vectors.cases.build import answer_case, cut_ties, dialect_logits, normal, uniform
from conformance.vectors.families import (
    DISTRIBUTION,
    IDS,
    LOGITS,
    NUMBER,
    NUMBERS,
    Family,
    Schema,
)
from conformance.vectors.lines import Case, array, floats
from conformance.vectors.margins import (
    MIN_MARGIN,
    level_margin,
    min_p_margin,
    stated,
    top_p_margin,
)
from reference.logits import temperature

MARGINS = {
    "min_p": lambda x, value: min(min_p_margin(x, value), level_margin(x)),
    "top_k": lambda x, value: level_margin(x),
    "top_p": lambda x, value: min(top_p_margin(x, value), level_margin(x)),
}
HALF = [0.0, -1.0, -2.0, -3.0]  # probabilities of about .64, .24, .09, .03


def margin_of(family: str, logits: Any, value: float) -> float:
    return float(MARGINS[family](temperature(array(floats(logits)), 1.0), value))


def case_of(
    family: str, name: str, logits: Any, value: float, *flags: str, comment: str = ""
) -> Case:
    case: dict[str, Any] = {"logits": floats(logits), family: value}
    return answer_case(
        family,
        name,
        case,
        {*flags, *(["masked"] if None in case["logits"] else [])},
        comment,
        stated(margin_of(family, logits, value)),
        {name: cut_ties(case, name, y) for name, y in dialect_logits(case)},
    )


def stable_case(
    family: str, name: str, logits: Any, values: list[float], *flags: str
) -> Iterator[Case]:
    """Yield a case with the first value that is far enough from each threshold, if there is one."""
    for value in values:
        if margin_of(family, logits, value) >= MIN_MARGIN:
            yield case_of(family, name, logits, value, *flags)
            return


def min_ps() -> Iterator[Case]:
    def case(name: str, logits: Any, value: float, *flags: str, comment: str = "") -> Case:
        return case_of("min_p", name, logits, value, *flags, comment=comment)

    yield case("relative-to-the-maximum", HALF, 0.3)
    yield case("keeps-all", HALF, 0.04)
    yield case("keeps-the-argmax", HALF, 0.5)
    yield case("off", HALF, 0.0, "boundary")
    yield case("off-with-masked-tokens", [1.0, -np.inf, 0.0], 0.0, "boundary")
    yield case("one-keeps-the-argmax", HALF, 1.0, "boundary")
    yield case("one-keeps-every-argmax", [2.0, 1.0, 2.0, 2.0], 1.0, "boundary", "tie")
    yield case("one-of-all-equal", [0.5] * 6, 1.0, "boundary", "tie")
    yield case("flat", [0.25] * 20, 0.9, "tie", comment="Each probability is .05, the ratio 1.")
    yield case("not-absolute", [0.0, -0.5, -0.75, -1.0, -1.25, -1.5], 0.3)
    yield case("ties-are-dropped-together", [3.0, 0.0, 2.5, 0.0], 0.2, "tie")
    yield case("ties-are-kept-together", [3.0, 2.0, 0.0, 2.0], 0.2, "tie")
    yield case("any-maximum", [105.0, 104.0, 103.0, 102.0], 0.3)
    yield case("negative-maximum", [-105.0, -104.0, -103.0, -102.0], 0.3)
    yield case("a-single-token", [-np.inf, 4.0, -np.inf], 0.9, "boundary")
    yield case("far-below", [0.0, -90.0, -200.0, -1.0], 0.001, "extreme")
    yield case("tiny-fraction", [0.0, -20.0, -12.0], 1e-7)
    for seed in range(12):
        values = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5]
        grid = 0.125 if seed % 2 else 0.5
        logits = normal(seed + 100, 64 if seed > 8 else 16, grid=grid)
        rotated = values[seed % 6 :] + values[: seed % 6]
        yield from stable_case("min_p", f"random-{seed}", logits, rotated, "random")


def top_ks() -> Iterator[Case]:
    def case(name: str, logits: Any, value: int, *flags: str, comment: str = "") -> Case:
        return case_of("top_k", name, logits, value, *flags, comment=comment)

    yield case("two-of-four", [1.0, 3.0, 0.0, 2.0], 2)
    yield case("one", [1.0, 3.0, 0.0, 2.0], 1)
    yield case("off", [1.0, 3.0, 0.0, 2.0], 0, "boundary")
    yield case("all", [1.0, 3.0, 0.0, 2.0], 4, "boundary")
    yield case("more-than-all", [1.0, 3.0, 0.0, 2.0], 5, "boundary")
    yield case("a-billion", [1.0, 3.0, 0.0, 2.0], 10**9, "boundary")
    yield case("beyond-32-bits", [1.0, 3.0, 0.0, 2.0], 2**40, "boundary")
    yield case("tie-at-the-boundary", [1.0, 3.0, 0.0, 1.0], 2, "tie")
    yield case("tie-above-the-boundary", [3.0, 1.0, 3.0, 0.0], 3, "tie")
    yield case("tie-of-the-argmax", [3.0, 1.0, 3.0, 3.0], 1, "tie")
    yield case("all-equal", [0.5] * 8, 3, "tie")
    yield case("tie-of-many", [2.0, *[1.0] * 20, 0.0], 2, "tie")
    yield case("lowest-ties", [0.0, 2.0, 0.0, 1.0, 0.0], 3, "tie")
    yield case("masked-tokens-do-not-count", [-np.inf, 1.0, -np.inf, 2.0, 0.0], 2)
    yield case("more-than-are-left", [-np.inf, 1.0, -np.inf, 2.0], 3, "boundary")
    yield case("all-negative", [-5.0, -3.0, -4.0, -9.0], 2)
    yield case("two-levels", [1.0, -1.0] * 10, 5, "tie")
    for seed in range(12):
        grid = 0.125 if seed % 2 else 1.0
        size = 64 if seed > 7 else 16
        logits = normal(seed + 200, size, grid=grid)
        ties = ["tie"] if len(np.unique(logits)) < size else []
        k = 1 + int(uniform(seed, 1)[0] * (size - 2))
        yield case(f"random-{seed}", logits, k, "random", *ties)


def top_ps() -> Iterator[Case]:
    def case(name: str, logits: Any, value: float, *flags: str, comment: str = "") -> Case:
        return case_of("top_p", name, logits, value, *flags, comment=comment)

    yield case("crossing-token-is-kept", HALF, 0.7)
    yield case("the-first-token-suffices", HALF, 0.6)
    yield case("all-but-the-last", HALF, 0.95)
    yield case("all", HALF, 0.99)
    yield case("off", HALF, 1.0, "boundary")
    yield case("off-keeps-tiny-probabilities", [0.0, -60.0, -80.0], 1.0, "boundary", "extreme")
    yield case("zero-keeps-the-argmax", HALF, 0.0, "boundary")
    yield case("zero-keeps-every-argmax", [2.0, 1.0, 2.0, 0.0], 0.0, "boundary", "tie")
    yield case("small", HALF, 0.001)
    yield case("tie-at-the-boundary", [1.0, 0.0, 0.0, -3.0], 0.6, "tie")
    yield case("tie-of-many", [1.5, *[0.0] * 12], 0.4, "tie")
    yield case("all-equal", [0.25] * 8, 0.1, "tie", comment="One level, which is kept whole.")
    yield case("two-equal", [0.25] * 2, 0.3, "tie")
    yield case("tie-of-the-argmax", [3.0, 3.0, 0.0], 0.4, "tie")
    yield case("not-sorted", [-2.0, 0.0, -3.0, -1.0], 0.8)
    yield case("any-maximum", [105.0, 104.0, 103.0, 102.0], 0.8)
    yield case("negative-maximum", [-105.0, -104.0, -103.0, -102.0], 0.8)
    yield case("masked-tokens", [-np.inf, 0.0, -1.0, -np.inf, -2.0], 0.8)
    yield case("a-single-token", [-np.inf, 0.0], 0.5, "boundary")
    yield case("far-below", [0.0, 0.0, -100.0], 0.9, "extreme", "tie")
    for seed in range(16):
        values = [0.5, 0.9, 0.95, 0.7, 0.3, 0.8, 0.99, 0.1]
        grid = 0.125 if seed % 2 else 0.5
        logits = normal(seed + 300, 64 if seed > 11 else 16, grid=grid)
        rotated = values[seed % 8 :] + values[: seed % 8]
        ties = ["tie"] if len(np.unique(logits)) < len(logits) else []
        yield from stable_case("top_p", f"random-{seed}", logits, rotated, "random", *ties)


KEPT = {"kept": IDS, "probabilities": NUMBERS}


def family(name: str, statement: str, schema: Schema, cases: Any, margin: str) -> Family:
    return Family(
        name=name,
        function=f"logits.{name}",
        statement=statement,
        compare=DISTRIBUTION,
        input={"logits": LOGITS, name: schema},
        expect=KEPT,
        cases=cases,
        margin=margin,
    )


FAMILIES = (
    family(
        "min_p",
        "Tokens of at least min_p times the highest probability are kept.",
        NUMBER,
        min_ps,
        "smallest relative distance of a probability from the threshold, or of two logits",
    ),
    family(
        "top_k",
        "Tokens whose logit is at least the k-th largest are kept, ties included.",
        {"type": "integer", "minimum": 0},
        top_ks,
        "smallest relative difference of two logits",
    ),
    family(
        "top_p",
        "The highest levels of probability are kept whole, up to the one that reaches the mass.",
        NUMBER,
        top_ps,
        "smallest distance of top_p from the mass of the tokens down to a level, or of two logits",
    ),
)
