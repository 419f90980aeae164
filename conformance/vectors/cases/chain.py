"""All steps together, and distributions for programs with their own random numbers."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import numpy as np

from conformance.oracle.statistics import log_likelihood
from conformance.vectors.cases.build import (
    answer_case,
    dialect_logits,
    normal,
    pick,
    shifted,
    uniform,
)
from conformance.vectors.cases.steps import history
from conformance.vectors.families import (
    COUNT,
    DISTRIBUTION,
    EXACT,
    IDS,
    LOGITS,
    NUMBER,
    NUMBERS,
    PROBABILITY_RULE,
    SAMPLES,
    Family,
    fields,
)
from conformance.vectors.lines import Case, array, floats, rounded
from conformance.vectors.margins import MIN_MARGIN, chain_margin, stated
from conformance.vectors.reference import PARAMETERS, history_of
from conformance.vectors.samples import MIN_SAMPLES, distribution
from reference.logits import probabilities
from reference.sampler import STEPS

RANDOM_CASES = 60
VALUES: Mapping[str, tuple[Any, ...]] = {
    "repetition_penalty": (1.1, 1.3, 0.8, 2.0),
    "frequency_penalty": (0.4, 1.0, -0.5),
    "presence_penalty": (0.6, 1.5, -1.0),
    "temperature": (0.7, 1.3, 0.5, 1.9, 0.0),
    "min_p": (0.05, 0.1, 0.3),
    "top_k": (1, 3, 5, 8, 40),
    "top_p": (0.5, 0.8, 0.9, 0.95),
}
# Where two steps would trade places visibly.
ORDERS: Mapping[str, dict[str, Any]] = {
    "temperature-before-top-p": {"temperature": 2.0, "top_p": 0.7},
    "temperature-before-min-p": {"temperature": 2.0, "min_p": 0.3},
    "min-p-before-top-p": {"min_p": 0.2, "top_p": 0.9},
    "top-k-before-top-p": {"top_k": 3, "top_p": 0.85},
    "penalties-before-temperature": {"temperature": 0.5, "presence_penalty": 1.5},
    "repetition-before-presence": {"repetition_penalty": 2.0, "presence_penalty": 1.5},
    "repetition-before-frequency": {"repetition_penalty": 1.5, "frequency_penalty": 1.0},
    "greedy-after-penalties": {"temperature": 0.0, "repetition_penalty": 2.0},
    "greedy-with-truncation": {"temperature": 0.0, "top_p": 0.1, "top_k": 2, "min_p": 0.9},
}


def margin_of(case: Mapping[str, Any]) -> float:
    x = array(case["logits"])
    return chain_margin(x, history_of(case, len(x)))


def chain_case(name: str, case: Mapping[str, Any], *flags: str, comment: str = "") -> Case:
    dialects = {name: {"logits": shifted(y)} for name, y in dialect_logits(case)}
    margin = stated(margin_of(case))
    masked = {"masked"} if "allowed" in case else set()
    return answer_case("chain", name, case, {*flags, *masked}, comment, margin, dialects)


def random_input(seed: int) -> dict[str, Any]:
    """Return logits, tokens, and values for about half of the parameters."""
    chance = uniform(seed, 32)
    prompt, output = history(seed + 400, 16)
    case = {"logits": floats(normal(seed + 5000, 16, scale=2.5)), "prompt": prompt}
    case["output"] = output[: int(chance[0] * 9)]
    if chance[1] < 0.3:
        case["allowed"] = np.flatnonzero(uniform(seed + 6000, 16) < 0.7).tolist() or [0]
    for i, name in enumerate(PARAMETERS):
        if chance[2 + i] < 0.5:
            case[name] = pick(seed + 7000, i, VALUES[name])
    return case


def random_inputs(first: int) -> Iterator[dict[str, Any]]:
    """Yield the random inputs that rounding cannot change."""
    for seed in count(first):
        case = random_input(seed)
        if any(name in case for name in PARAMETERS) and margin_of(case) >= MIN_MARGIN:
            yield case


def order_input(name: str) -> dict[str, Any]:
    """Return the first input on which the order of these parameters is visible in a dialect."""
    for seed in count(8000):
        prompt, output = history(seed, 8)
        case = {"logits": floats(normal(seed, 8, scale=1.5)), "prompt": prompt, "output": output}
        case |= ORDERS[name]
        greedy = case.get("temperature") == 0
        if margin_of(case) >= MIN_MARGIN and (greedy or any(dialect_logits(case))):
            return case
    raise AssertionError("unreachable")


def chains() -> Iterator[Case]:
    tied = {"logits": [2.0, 1.0, 2.0, 1.0, 0.0], "prompt": [], "output": []}
    yield chain_case("no-parameters", tied, "boundary", "tie")
    yield chain_case("ties-at-every-threshold", tied | {"top_k": 3, "top_p": 0.5}, "tie")
    yield chain_case("greedy-tie", tied | {"temperature": 0.0}, "tie")
    yield chain_case("greedy-of-allowed", tied | {"temperature": 0.0, "allowed": [1, 3, 4]}, "tie")
    for name in ORDERS:
        yield chain_case(name, order_input(name))
    for i, case in zip(range(RANDOM_CASES), random_inputs(0), strict=False):
        yield chain_case(f"random-{i}", case, "random")


def distributions() -> Iterator[Case]:
    """Yield cases whose dialects `MIN_SAMPLES` samples can distinguish."""
    inputs: list[tuple[str, Mapping[str, Any]]] = [(name, order_input(name)) for name in ORDERS]
    inputs += [(f"random-{i}", c) for i, c in zip(range(20), random_inputs(3000), strict=False)]
    for name, given in inputs:
        if given.get("temperature") == 0:
            continue
        case = dict(given)
        dialects = {
            n: {"probabilities": rounded(probabilities(y))} for n, y in dialect_logits(case)
        }
        whole = answer_case("distribution", name, case, margin=stated(margin_of(case)))
        visible = {n: q for n, q in dialects.items() if is_visible(whole.expect, q)}
        yield answer_case("distribution", name, case, (), "", whole.margin, visible)


def is_visible(expect: Mapping[str, Any], dialect: Mapping[str, Any]) -> bool:
    """Return whether `MIN_SAMPLES` samples of a dialect refute the specification: one of them is
    impossible, or the expected log-likelihood ratio is large.
    """
    p, q = distribution(expect), distribution(dialect)
    if sum(v for token, v in q.items() if token not in p) > 0.02:
        return True
    common = {token: v for token, v in q.items() if token in p}
    counts = {token: round(v * MIN_SAMPLES) for token, v in common.items()}
    return log_likelihood(counts, q) - log_likelihood(counts, p) > 30


CHAIN_INPUT = {
    "logits": LOGITS,
    "prompt": IDS,
    "output": IDS,
    "allowed?": IDS,
    **{f"{name}?": COUNT if name == "top_k" else NUMBER for name in PARAMETERS},
}

FAMILIES = (
    Family(
        name="chain",
        function="sampler.STEPS",
        statement="The steps are mask, repetition, frequency and presence penalty, temperature, "
        "min_p, top_k, top_p, in this order; an absent parameter is off.",
        compare={**DISTRIBUTION, "counts": EXACT},
        input=CHAIN_INPUT,
        expect={
            "kept": IDS,
            "probabilities": NUMBERS,
            "counts": fields({name: COUNT for name, _ in STEPS}),
        },
        cases=chains,
        margin="smallest margin of a step",
    ),
    Family(
        name="distribution",
        function="sampler.sample",
        statement="Tokens are drawn from the distribution after all steps.",
        compare={"tokens": SAMPLES, "probabilities": PROBABILITY_RULE},
        input=CHAIN_INPUT,
        expect={"probabilities": NUMBERS},
        cases=distributions,
        margin="smallest margin of a step",
    ),
)
