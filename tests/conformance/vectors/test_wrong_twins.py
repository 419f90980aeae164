"""Wrong implementations: each is detected by the family of the function that it changes, and a
known deviation is named.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from conformance.oracle import dialects
from conformance.vectors.__main__ import respond
from conformance.vectors.comparing import compare
from conformance.vectors.generation import FAMILIES
from conformance.vectors.lines import array, floats
from conformance.vectors.reference import ANSWERS, Answer, Input, distribution, history_of
from conformance.verdicts import Verdict
from reference import threefry
from reference.logits import temperature
from tests.conformance.vectors.conftest import Families

Twin = Callable[[Input], Answer]


def changed(name: str, change: Callable[[Answer, Input], Answer]) -> tuple[str, Twin]:
    """Return a twin that changes the right answer."""
    return name, lambda case: change(ANSWERS[name](case), case)


def with_input(name: str, **changes: Callable[[Any], Any]) -> tuple[str, Twin]:
    """Return a twin that computes the right answer of another input."""

    def answer(case: Input) -> Answer:
        return ANSWERS[name]({**case, **{k: f(case[k]) for k, f in changes.items() if k in case}})

    return name, answer


def by_dialect(family: str, name: str) -> tuple[str, Twin]:
    [dialect] = dialects.dialects_named([name])

    def answer(case: Input) -> Answer:
        x = array(case["logits"])
        final = dialect.final(x, history_of(case, len(x)))
        if not family.endswith("penalty"):
            return distribution(final)
        # The chain moves the maximum to 0. A token without history has kept its logit.
        changed = {*case["prompt"], *case["output"]}
        kept = [i for i in range(len(x)) if i not in changed and np.isfinite(x[i])]
        if not kept:
            return {"unsupported": True}
        return {"logits": floats(final + (x[kept[0]] - final[kept[0]]))}

    return family, answer


def in_steps(family: str, function: Callable[..., Any]) -> tuple[str, Twin]:
    """Return a twin of a truncation step that keeps other tokens."""

    def answer(case: Input) -> Answer:
        x = temperature(array(case["logits"]), 1.0)
        return {"kept": np.flatnonzero(function(x, case[family])).tolist()}

    return family, answer


TWINS: list[tuple[str, Twin]] = [
    changed("mask", lambda a, c: {"logits": [-100.0 if x is None else x for x in a["logits"]]}),
    with_input("repetition_penalty", prompt=lambda ids: []),
    with_input("repetition_penalty", output=lambda ids: []),
    with_input("frequency_penalty", output=lambda ids: sorted(set(ids))),
    with_input("presence_penalty", presence_penalty=abs),
    with_input("temperature", temperature=lambda t: max(t, 0.01)),
    with_input("temperature", temperature=lambda t: t if t else 1e-9),
    in_steps("min_p", lambda x, f: np.exp(x) > f),
    in_steps(
        "top_k", lambda x, k: np.arange(len(x)) >= 0 if k == 1 else x >= np.sort(x)[-k:].min()
    ),
    with_input("top_k", top_k=lambda k: k + 1),
    with_input("top_p", top_p=lambda p: p if p else 1.0),
    with_input("chain", prompt=lambda ids: []),
    with_input("chain", allowed=lambda ids: sorted({*range(5), *ids})),
    with_input("wide", top_k=lambda k: k - 1),
    with_input("threefry", seed=lambda s: str(int(s) % 2**32)),
    with_input("threefry", choice=lambda c: 0),
    with_input("threefry", position=lambda p: p + 1),
    changed("gumbel", lambda a, c: {"noise": [min(g, 20.0) for g in a["noise"]]}),
    changed(
        "gumbel",
        lambda a, c: {
            "noise": [
                None if b >= 2**32 - 128 else g for g, b in zip(a["noise"], c["bits"], strict=True)
            ]
        },
    ),
    with_input("draw", position=lambda p: p + 1),
    with_input("draw", choice=lambda c: 0),
    changed("logprobs", lambda a, c: a | {"top_ids": a["top_ids"][: c["top"]]}),
    with_input("logprobs", token=lambda t: 0),
    with_input("token_name", ranked=sorted),
    changed("token_name", lambda a, c: {"name": a["name"].strip()}),
    with_input("stop", stop=sorted),
    changed("stop", lambda a, c: {"text": a["text"] + (a["stop_reason"] or "")}),
    with_input("finish", eos_token_ids=lambda ids: []),
    changed("budget", lambda a, c: {"budget": c["max_tokens"]}),
    with_input("detokenization", strip_space=lambda s: not s),
    changed(
        "detokenization",
        lambda a, c: {
            "text": "".join(bytes.fromhex(p).decode(errors="replace") for p in c["pieces"])
        },
    ),
    with_input("text_offset", start=lambda offset: 0),
    with_input("text_offset", strip_space=lambda s: not s),
    with_input("text_offset", stop=lambda strings: []),
    changed("text_offset", lambda a, c: {"entries": [1] * len(a["entries"])}),
    with_input("tokenization", text=str.strip),
    changed("grammar_text", lambda a, c: {"accepted": [True] * len(a["accepted"])}),
    changed("grammar_mask", lambda a, c: {"allowed": [i for i in a["allowed"] if i < 256]}),
    with_input("forward", ids=lambda ids: ids[::-1]),
    changed(
        "forward",
        lambda a, c: {"logits": (np.array(a["logits"], np.float32) * 1.001).tolist()},
    ),
    changed("distribution", lambda a, c: {"probabilities": sorted(a["probabilities"])}),
]
DIALECTS = [
    ("top_k", "top_k by rank: ties are cut"),
    ("top_p", "top_p by rank: ties are cut"),
    ("top_p", "top_p without the crossing token"),
    ("min_p", "min_p by >: ties are cut"),
    ("min_p", "min_p of the probability itself"),
    ("repetition_penalty", "repetition_penalty over the output only"),
    ("repetition_penalty", "repetition_penalty over the prompt only"),
    ("repetition_penalty", "repetition_penalty divides negative logits too"),
    ("repetition_penalty", "repetition_penalty once for each occurrence"),
    ("frequency_penalty", "frequency_penalty over the prompt too"),
    ("presence_penalty", "presence_penalty over the prompt too"),
    ("presence_penalty", "presence_penalty and frequency_penalty swapped"),
    ("chain", "temperature after truncation"),
    ("chain", "top_p of the whole distribution"),
    ("chain", "top_p before top_k"),
    ("chain", "min_p last"),
    ("chain", "penalties after the temperature"),
    ("chain", "repetition_penalty after the other penalties"),
]


def verdicts(families: Families, name: str, twin: Twin) -> dict[Verdict, list[str]]:
    """Return the ids of the cases with each verdict, and for NON-STRICT the names."""
    header, cases = families[name]
    result: dict[Verdict, list[str]] = {}
    for case in cases:
        question = {"id": case.id, "family": name, "input": case.input}
        outcome = compare(case, header["compare"], respond(question, {name: twin}), 1e-6)
        verdict = outcome.verdict if outcome else Verdict.PASS
        note = outcome.note if outcome and verdict is Verdict.NON_STRICT else case.id
        result.setdefault(verdict, []).append(note)
    return result


@pytest.mark.parametrize(("name", "twin"), TWINS)
def test_wrong_twin_is_detected(families: Families, name: str, twin: Twin) -> None:
    assert verdicts(families, name, twin).keys() & {Verdict.FAIL, Verdict.NON_STRICT}


def test_families_detect_a_twin() -> None:
    assert {name for name, _ in TWINS} == {f.name for f in FAMILIES} - {"request"}


@pytest.mark.parametrize(("family", "name"), DIALECTS)
def test_dialect_is_named(families: Families, family: str, name: str) -> None:
    result = verdicts(families, family, by_dialect(family, name)[1])
    assert any(name in note.split(" or ") for note in result[Verdict.NON_STRICT])
    # A dialect is not a failure where rounding does not decide.
    assert len(result.get(Verdict.FAIL, [])) <= len(families[family][1]) // 20


def test_dialects_are_named_by_a_case(families: Families) -> None:
    named = {n for _, cases in families.values() for case in cases for n in case.dialects}
    assert {d.name for d in dialects.DIALECTS} <= named


@pytest.mark.parametrize("seed", [0, 7])
def test_gumbel_family_does_not_depend_on_the_library(families: Families, seed: int) -> None:
    """Noise of NumPy's float32 functions is within the tolerance for other words, too."""
    bits = threefry.random_bits(threefry.draw_key(seed, 0, 0), 4096)
    u = np.minimum((bits.astype(np.float32) + np.float32(0.5)) * np.float32(2**-32), 1 - 2**-24)
    exact = -np.log(-np.log1p(-u.astype(np.float64)))
    rule = families["gumbel"][0]["compare"]["noise"]
    error = np.abs(threefry.gumbel(bits) - exact)
    assert (error <= rule["absolute"] + rule["relative"] * np.abs(exact)).all()
