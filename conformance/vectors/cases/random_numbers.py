"""Threefry, Gumbel noise, and seeded draws."""

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from conformance.vectors.cases.build import answer_case, dialect_logits, normal
from conformance.vectors.cases.chain import CHAIN_INPUT, random_inputs
from conformance.vectors.families import (
    COUNT,
    EXACT,
    NOISE_RULE,
    NUMBERS,
    SEED,
    WORD,
    Family,
    array_of,
)
from conformance.vectors.lines import Case, array, floats, rounded
from conformance.vectors.margins import MIN_MARGIN, stated, token_margin
from conformance.vectors.reference import history_of
from reference.sampler import final_logits
from reference.threefry import draw_key, random_bits

# Salmon et al. 2011: answers of the Random123 library (kat_vectors), threefry2x32 with 20 rounds.
RANDOM123 = {
    "zeros": ([0, 0], [0, 0], [0x6B200159, 0x99BA4EFE]),
    "ones": ([2**32 - 1] * 2, [2**32 - 1] * 2, [0x1CB996FC, 0xBB002BE7]),
    "digits-of-pi": (
        [0x13198A2E, 0x03707344],
        [0x243F6A88, 0x85A308D3],
        [0xC4923A9C, 0x483DF7A0],
    ),
}
SEEDS = {
    "zero": 0,
    "one": 1,
    "minus-one": -1,
    "high-word": 2**32,
    "both-words": 2**32 + 5,
    "largest-low-word": 2**32 - 1,
    "largest-int64": 2**63 - 1,
    "two-to-the-63": 2**63,
    "largest": 2**64 - 1,
    "smallest": -(2**63),
    "ordinary": 1234567890123456789,
}
POSITIONS = {"first": 0, "second": 1, "hundredth": 99, "last": 2**31 - 1}
WORDS = {
    "smallest": [0, 1, 2, 3],
    "largest": [2**32 - 1, 2**32 - 2, 2**32 - 3],
    "the-128-highest": [2**32 - 129, 2**32 - 128, 2**32 - 127, 2**32 - 64],
    "middle": [2**31 - 1, 2**31, 2**31 + 1],
    "rounded-to-float32": [2**24 - 1, 2**24, 2**24 + 1, 2**24 + 2, 2**24 + 3, 2**25 + 1, 2**25 + 3],
    "powers-of-two": [2**i for i in range(4, 32, 3)],
}


def threefry_cases() -> Iterator[Case]:
    for name, (key, counter, words) in RANDOM123.items():
        known = {"key": key, "counter": counter}
        comment = "Random123, kat_vectors: threefry2x32, 20 rounds."
        result = answer_case("threefry", f"random123-{name}", known, ["standard"], comment)
        assert result.expect["words"] == words
        yield result
    for name, seed in SEEDS.items():
        yield answer_case("threefry", f"seed-{name}", {"seed": str(seed)}, ["boundary"])
        for choice, (where, position) in product((0, 1, 3), POSITIONS.items()):
            case: dict[str, Any] = {"seed": str(seed), "choice": choice, "position": position}
            if (choice + position + seed) % 2 == 0 or choice == 0:
                yield answer_case("threefry", f"key-{name}-choice-{choice}-{where}", case)
    for i, seed in enumerate(SEEDS.values()):
        case = {"seed": str(seed), "choice": i % 4, "position": 7 * i, "vocab_size": 16}
        yield answer_case("threefry", f"bits-{i}", case)
    odd = {"seed": "7", "choice": 0, "position": 3, "vocab_size": 7}
    yield answer_case("threefry", "bits-of-an-odd-number-of-tokens", odd)
    yield answer_case("threefry", "bits-of-one-token", odd | {"vocab_size": 1}, ["boundary"])


def exact_noise(bits: list[int]) -> np.ndarray:
    """Return −log(−log1p(−u)) in float64, for the float32 number u of each word."""
    u = (np.array(bits, np.uint32).astype(np.float32) + np.float32(0.5)) * np.float32(2**-32)
    u = np.minimum(u, np.float32(1 - 2**-24))
    return np.array([-math.log(-math.log1p(-float(value))) for value in u])


def gumbel_cases() -> Iterator[Case]:
    named: Mapping[str, list[int]] = WORDS | {
        f"random-{i}": random_bits(draw_key(100 + i, 0, 0), 8).tolist() for i in range(8)
    }
    for name, bits in named.items():
        flags = ["random"] if name.startswith("random") else ["boundary"]
        yield Case(
            id=f"gumbel/{name}",
            input={"bits": bits},
            expect={"noise": rounded(exact_noise(bits))},
            flags=tuple(flags),
        )


def draw_input(seed: int, choice: int, position: int, case: Mapping[str, Any]) -> dict[str, Any]:
    return {**case, "seed": str(seed), "choice": choice, "position": position}


def noise_of(case: Mapping[str, Any]) -> np.ndarray:
    size = len(case["logits"])
    key = draw_key(int(case["seed"]), case["choice"], case["position"])
    return exact_noise(random_bits(key, size).tolist())


def draw_case(name: str, case: Mapping[str, Any], *flags: str) -> Iterator[Case]:
    """Yield a case if rounding cannot change its token."""
    x, noise = array(case["logits"]), noise_of(case)
    last = final_logits(x, history_of(case, len(x)))
    if token_margin(last, noise) < 10 * MIN_MARGIN:
        return
    dialects = {}
    token = int(np.argmax(last + noise))
    for dialect, y in dialect_logits(case):
        other = int(np.argmax(y + noise))
        if other != token and token_margin(y, noise) > 10 * MIN_MARGIN:
            dialects[dialect] = {"token": other}
    margin = stated(token_margin(last, noise))
    result = answer_case("draw", name, case, flags, "", margin, dialects)
    assert result.expect["token"] == token
    yield result


def draws() -> Iterator[Case]:
    none: dict[str, Any] = {"prompt": [], "output": []}
    equal = none | {"logits": [0.0] * 8}
    typical = none | {"logits": floats(normal(9000, 16, scale=1.5))}
    for name, seed in SEEDS.items():
        for choice, (where, position) in product((0, 1, 2, 3), POSITIONS.items()):
            if where in ("first", "hundredth") or choice == 0:
                case = draw_input(seed, choice, position, equal)
                yield from draw_case(f"noise-{name}-choice-{choice}-{where}", case)
    for i in range(24):
        yield from draw_case(f"typical-position-{i}", draw_input(42, i // 12, i % 12, typical))
    wide = none | {"logits": floats(normal(9100, 64, scale=2.0))}
    for i in range(12):
        yield from draw_case(f"vocabulary-of-64-{i}", draw_input(2**40 + i, 0, i, wide), "random")
    for i, case in zip(range(40), random_inputs(20_000), strict=False):
        yield from draw_case(f"chain-{i}", draw_input(77 + i, i % 4, i, case), "random")
    greedy = typical | {"temperature": 0.0}
    for seed in (0, 1, 2):
        name = f"greedy-does-not-depend-on-seed-{seed}"
        yield from draw_case(name, draw_input(seed, 0, 0, greedy), "boundary")


SEEDED = {"seed": SEED, "choice": COUNT, "position": COUNT}
FAMILIES = (
    Family(
        name="threefry",
        function="threefry.draw_key",
        statement="Two words from a key and a counter; the key of a seed; the key of a seed, a "
        "choice and a position; or the words of the tokens.",
        compare={"words": EXACT},
        input={
            "key?": array_of(WORD),
            "counter?": array_of(WORD),
            **{f"{name}?": schema for name, schema in SEEDED.items()},
            "vocab_size?": COUNT,
        },
        expect={"words": array_of(WORD)},
        cases=threefry_cases,
    ),
    Family(
        name="gumbel",
        function="threefry.gumbel",
        statement="The noise of a word is −log(−log1p(−u)), finite for every word.",
        compare={"noise": NOISE_RULE},
        input={"bits": array_of(WORD)},
        expect={"noise": NUMBERS},
        cases=gumbel_cases,
    ),
    Family(
        name="draw",
        function="sampler.sample",
        statement="The token with the highest sum of logit and noise is sampled, after all steps.",
        compare={"token": EXACT},
        input=CHAIN_INPUT | SEEDED,
        expect={"token": COUNT},
        cases=draws,
        margin="difference of the two highest sums",
    ),
)
