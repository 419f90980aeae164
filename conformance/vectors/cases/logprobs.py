"""Reported log-probabilities, and the names of tokens."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from conformance.vectors.cases.build import answer_case, normal
from conformance.vectors.families import (
    BOOLEAN,
    COUNT,
    EXACT,
    HEX,
    IDS,
    LOGITS,
    LOGPROB_RULE,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    Family,
    array_of,
)
from conformance.vectors.lines import Case, array, floats, rounded
from conformance.vectors.margins import level_margin, stated


def logprob_case(name: str, logits: Any, token: int, top: int, *flags: str) -> Case:
    """Return a case whose numbers are computed in float64."""
    case: dict[str, Any] = {"logits": floats(logits), "token": token, "top": top}
    x = array(case["logits"])
    result = answer_case("logprobs", name, case, flags, "", stated(level_margin(x)))
    exact = x.astype(np.float64) - x.max()
    exact -= np.log(np.exp(exact).sum())
    ids = result.expect["top_ids"]
    expect = {"logprob": rounded([exact[token]])[0], "top_ids": ids}
    expect["top_logprobs"] = rounded(exact[ids])
    return Case(**{**vars(result), "expect": expect})


def logprob_cases() -> Iterator[Case]:
    values = [1.0, 3.0, -2.0, 2.0, 0.5]
    yield logprob_case("sampled-is-among-the-top", values, 3, 2)
    yield logprob_case("sampled-is-added", values, 2, 2)
    yield logprob_case("sampled-is-first", values, 1, 1)
    yield logprob_case("zero-lists-the-sampled", values, 4, 0, "boundary")
    yield logprob_case("all", values, 2, 5, "boundary")
    yield logprob_case("more-than-all", values, 2, 9, "boundary")
    yield logprob_case("ties-by-id", [1.0, 2.0, 1.0, 2.0, 1.0], 3, 3, "tie")
    yield logprob_case("tie-at-the-end", [1.0, 2.0, 1.0, 0.0], 2, 2, "tie")
    yield logprob_case("all-equal", [0.5] * 6, 4, 3, "tie")
    yield logprob_case("large-logits", [500.0, 498.0, -500.0], 1, 2, "extreme")
    yield logprob_case("nearly-certain", [40.0, 0.0, -40.0], 2, 1, "extreme")
    yield logprob_case("a-vocabulary-of-one", [-7.0], 0, 1, "boundary")
    for seed in range(10):
        size = 64 if seed > 6 else 16
        token, top = (5 * seed + 2) % size, seed
        yield logprob_case(f"random-{seed}", normal(seed + 700, size), token, top, "random")


def name_case(
    name: str,
    pieces: Sequence[bytes],
    token: int,
    ranked: Sequence[int],
    *flags: str,
    as_ids: bool = False,
) -> Case:
    case = {
        "pieces": [piece.hex() for piece in pieces],
        "token": token,
        "ranked": list(ranked),
        "as_ids": as_ids,
    }
    return answer_case("token_name", name, case, flags)


def name_cases() -> Iterator[Case]:
    words = [b"a", b" the", b"", "é".encode(), "漢字".encode()]
    yield name_case("text", words, 0, [0, 1])
    yield name_case("leading-space-is-kept", words, 1, [1])
    yield name_case("empty-text", words, 2, [2, 0], "boundary")
    yield name_case("characters", words, 3, [3, 4], "unicode")
    halves = [b"\xe2\x82", b"\xac", b"a\xff", "€".encode(), b"\x00"]
    yield name_case("part-of-a-character", halves, 0, [0, 1], "unicode")
    yield name_case("invalid-bytes", halves, 2, [2, 3], "unicode")
    yield name_case("control-character", halves, 4, [4])
    same = [b"a", b"a", b"b", b"a"]
    yield name_case("sampled-keeps-its-text", same, 1, [0, 1, 2], "tie")
    yield name_case("more-likely-keeps-its-text", same, 2, [1, 0, 2], "tie")
    yield name_case("three-of-one-text", same, 3, [0, 1, 3], "tie")
    yield name_case("sampled-is-last", same, 3, [0, 2, 3], "tie")
    broken = [b"\xff", b"\xff", b"\xfe"]
    yield name_case("equal-bytes", broken, 2, [0, 1, 2], "tie", "unicode")
    yield name_case("as-ids", words, 1, [1, 4], as_ids=True)
    yield name_case("equal-texts-as-ids", same, 1, [0, 1, 3], "tie", as_ids=True)
    odd = [b"token_id:1", b"a", b"bytes:\\xff", b"\xff"]
    yield name_case("text-like-an-id", odd, 0, [0, 1])
    yield name_case("text-like-bytes", odd, 3, [2, 3], "tie")


FAMILIES = (
    Family(
        name="logprobs",
        function="logprobs.token_logprobs",
        statement="The log-probability of the sampled token, and the most likely tokens with "
        "theirs, by the model's logits; the sampled token is added if it is not among them.",
        compare={"logprob": LOGPROB_RULE, "top_ids": EXACT, "top_logprobs": LOGPROB_RULE},
        input={"logits": LOGITS, "token": COUNT, "top": COUNT},
        expect={"logprob": NUMBER, "top_ids": IDS, "top_logprobs": NUMBERS},
        cases=logprob_cases,
        margin="smallest relative difference of two logits",
    ),
    Family(
        name="token_name",
        function="output_text.TokenDisplay",
        statement="The string of the sampled token, and those of the tokens of one position of "
        "top_logprobs, in their order, all different.",
        compare={"name": EXACT, "top_names": EXACT},
        input={"pieces": array_of(HEX), "token": COUNT, "ranked": IDS, "as_ids": BOOLEAN},
        expect={"name": TEXT, "top_names": TEXTS},
        cases=name_cases,
    ),
)
