"""The steps that change logits: mask, penalties, temperature."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from conformance.vectors.cases.build import answer_case, dialect_logits, normal, shifted, uniform
from conformance.vectors.families import IDS, LOGIT_RULE, LOGITS, NUMBER, SHIFTED, Family
from conformance.vectors.lines import Case, array, floats
from conformance.vectors.margins import EXACT, level_margin, stated

TINY = float(np.finfo(np.float32).tiny)
SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def step_case(
    family: str, name: str, logits: Any, *flags: str, comment: str = "", **fields: Any
) -> Case:
    """Return a case of one step. fields: the rest of its input."""
    case = {"logits": floats(logits), **fields}
    x = array(case["logits"])
    greedy = family == "temperature" and fields["temperature"] < TINY
    return answer_case(
        family,
        name,
        case,
        {*flags, *(["masked"] if None in case["logits"] else [])},
        comment,
        stated(level_margin(x) if greedy else EXACT),
        {name: {"logits": shifted(y)} for name, y in dialect_logits(case)},
    )


def masks() -> Iterator[Case]:
    yield step_case("mask", "one-of-two", [1, 2], allowed=[0])
    yield step_case("mask", "all", [1, 2, 3], "boundary", allowed=[0, 1, 2])
    yield step_case("mask", "the-argmax-is-not-allowed", [5, 1, 3, -2], allowed=[1, 3])
    yield step_case("mask", "a-single-token", [0.5, -7, 0.5, 2], "boundary", allowed=[1])
    yield step_case("mask", "masked-stays-masked", [-np.inf, 2, 1], allowed=[0, 2])
    for seed in range(4):
        allowed = np.flatnonzero(uniform(seed + 50, 16) < 0.4).tolist()
        yield step_case("mask", f"random-{seed}", normal(seed, 16), "random", allowed=allowed)


def repetition_penalties() -> Iterator[Case]:
    def case(name: str, logits: Any, penalty: float, *flags: str, **fields: Any) -> Case:
        history = {"prompt": [], "output": []} | fields
        return step_case(
            "repetition_penalty", name, logits, *flags, **history, repetition_penalty=penalty
        )

    signs = [4.0, -1.0, 0.0, 3.0]
    yield case("positive-is-divided", signs, 2.0, prompt=[0])
    yield case("negative-is-multiplied", signs, 2.0, prompt=[1])
    yield case("zero-stays-zero", signs, 2.0, prompt=[2], comment="0 · 2 is 0, and so is 0 / 2.")
    yield case("signs-together", signs, 2.0, prompt=[0, 1, 2])
    yield case("output-counts", signs, 2.0, output=[0, 1])
    yield case("prompt-and-output", signs, 1.5, prompt=[0], output=[1, 3])
    yield case("once-for-many-occurrences", signs, 1.25, prompt=[0, 0, 0], output=[0, 1, 1, 0])
    yield case("without-history", signs, 2.0, "boundary")
    yield case("off", signs, 1.0, "boundary", prompt=[0, 1, 2, 3], output=[0])
    yield case("below-1-encourages", signs, 0.5, prompt=[0, 1])
    yield case("smallest", signs, 0.01, "boundary", prompt=[0, 1], output=[3])
    yield case("largest", signs, 5.0, "boundary", prompt=[0, 1], output=[3])
    yield case("every-token", [-3.0, -1.5, 0.5, 2.0], 1.3, prompt=[0, 1, 2, 3])
    yield case("all-negative", [-8.0, -1.5, -0.5, -2.0], 1.3, prompt=[1, 2])
    yield case("masked-token", [-np.inf, 2.0, -1.0], 2.0, prompt=[0, 1, 2])
    yield case("order-of-the-ids-does-not-matter", signs, 2.0, prompt=[3, 0], output=[1, 2])
    for seed in range(10):
        prompt, output = history(seed, 16)
        penalty = (0.8, 1.1, 1.2, 1.3, 2.0)[seed % 5]
        yield case(
            f"random-{seed}",
            normal(seed, 16),
            penalty,
            "random",
            prompt=prompt,
            output=output,
        )


def history(seed: int, vocab_size: int) -> tuple[list[int], list[int]]:
    """Return the ids of a prompt and of an output, some of them repeated."""
    ids = (uniform(seed + 900, 14) * vocab_size).astype(int).tolist()
    return ids[:6], ids[6:]


def output_penalties(family: str) -> Iterator[Case]:
    """Yield the cases of frequency_penalty or presence_penalty."""

    def case(name: str, logits: Any, penalty: float, *flags: str, **history: Any) -> Case:
        tokens = {"prompt": [], "output": []} | history
        fields: dict[str, Any] = tokens | {family: penalty}
        return step_case(family, name, logits, *flags, **fields)

    yield case("zero-one-three-times", [2.0, 2.0, 2.0], 0.5, output=[1, 2, 2, 2])
    yield case("prompt-is-not-counted", [2.0, 1.0, 0.0], 1.0, prompt=[0, 0, 2])
    yield case("prompt-and-output", [2.0, 1.0, 0.0], 1.0, prompt=[0, 1], output=[1, 1])
    yield case("negative-encourages", [0.0, 1.0, -1.0], -1.5, output=[0, 2, 2])
    yield case("off", [0.5, 1.0, -1.0], 0.0, "boundary", prompt=[1], output=[0, 0, 2])
    yield case("largest", [0.5, 1.0, -1.0], 2.0, "boundary", output=[0, 0, 2])
    yield case("smallest", [0.5, 1.0, -1.0], -2.0, "boundary", output=[0, 0, 2])
    yield case("without-output", [0.5, 1.0, -1.0], 2.0, "boundary", prompt=[0, 1])
    yield case("order-changes", [3.0, 2.5, 2.0], 0.75, output=[0, 0, 1])
    yield case("masked-token", [-np.inf, 1.0, 0.0], 1.0, output=[0, 1])
    yield case("a-hundred-times", [10.0, 0.0, -10.0], 1.75, output=[0] * 100 + [2] * 3)
    for seed in range(8):
        prompt, output = history(seed + 20, 16)
        penalty = (0.1, 0.4, 1.1, -0.7)[seed % 4]
        values = normal(seed + 20, 16)
        tokens = {"prompt": prompt, "output": output}
        yield case(f"random-{seed}", values, penalty, "random", **tokens)


def temperatures() -> Iterator[Case]:
    def case(name: str, logits: Any, value: float, *flags: str, comment: str = "") -> Case:
        return step_case("temperature", name, logits, *flags, temperature=value, comment=comment)

    values = [3.0, 2.0, -1.0, 2.5]
    yield case("half-doubles-distances", values, 0.5)
    yield case("two-halves-distances", values, 2.0, "boundary")
    yield case("off", values, 1.0, "boundary")
    yield case("greedy", values, 0.0, "boundary")
    yield case("greedy-keeps-the-lowest-id", [1.0, 3.0, 2.0, 3.0], 0.0, "boundary", "tie")
    yield case("greedy-of-all-equal", [0.0] * 5, 0.0, "boundary", "tie")
    yield case("greedy-of-negative-logits", [-9.0, -4.0, -5.0], 0.0, "boundary")
    yield case("greedy-skips-masked-tokens", [-np.inf, -2.0, -1.0], 0.0, "boundary")
    subnormal = "Below the smallest normal float32: counts as 0, as division would give NaN."
    yield case("subnormal-is-greedy", values, SMALLEST, "extreme", comment=subnormal)
    yield case("ten-to-minus-40-is-greedy", values, 1e-40, "extreme", comment=subnormal)
    tiny = "Every other token has a logit below float32's range: −∞ or a very negative number."
    yield case("smallest-normal", [3.0, 3.0, -1.0], TINY, "extreme", "tie", comment=tiny)
    yield case("ties-stay-ties", [1.5, 0.25, 1.5, 0.25], 0.7, "tie")
    yield case("masked-tokens-stay-masked", [2.0, -np.inf, 1.0], 0.3)
    yield case("large-logits", [20000.0, 19990.0, -20000.0], 0.8, "extreme")
    for seed in range(8):
        value = (0.2, 0.6, 0.7, 0.9, 1.1, 1.3, 1.7, 1.99)[seed]
        yield case(f"random-{seed}", normal(seed + 40, 16), value, "random")


PENALIZED = {"logits": LOGITS, "prompt": IDS, "output": IDS}
AFTER = {"logits": LOGITS}

FAMILIES = (
    Family(
        name="mask",
        function="logits.mask",
        statement="Tokens that are not allowed get a logit of −∞, the others are unchanged.",
        compare={"logits": LOGIT_RULE},
        input={"logits": LOGITS, "allowed": IDS},
        expect=AFTER,
        cases=masks,
    ),
    Family(
        name="repetition_penalty",
        function="logits.repetition_penalty",
        statement="The logit of each token of prompt or output is divided by the penalty if it is "
        "positive, else multiplied by it.",
        compare={"logits": LOGIT_RULE},
        input=PENALIZED | {"repetition_penalty": NUMBER},
        expect=AFTER,
        cases=repetition_penalties,
    ),
    Family(
        name="frequency_penalty",
        function="logits.frequency_penalty",
        statement="The penalty is subtracted once for each occurrence of a token in the output.",
        compare={"logits": LOGIT_RULE},
        input=PENALIZED | {"frequency_penalty": NUMBER},
        expect=AFTER,
        cases=lambda: output_penalties("frequency_penalty"),
    ),
    Family(
        name="presence_penalty",
        function="logits.presence_penalty",
        statement="The penalty is subtracted once from each token that occurs in the output.",
        compare={"logits": LOGIT_RULE},
        input=PENALIZED | {"presence_penalty": NUMBER},
        expect=AFTER,
        cases=lambda: output_penalties("presence_penalty"),
    ),
    Family(
        name="temperature",
        function="logits.temperature",
        statement="Logits are divided by the temperature; at 0 only the first argmax is left.",
        compare={"logits": SHIFTED},
        input={"logits": LOGITS, "temperature": NUMBER},
        expect=AFTER,
        cases=temperatures,
        margin="difference of the highest logits at temperature 0",
    ),
)
