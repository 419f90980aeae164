"""seed: the state from which the random draws of a request start."""

from collections.abc import Iterator
from typing import Any

from conformance.assertions.basic import assert_equal, assert_that
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import (
    ECHO,
    LOGPROBS,
    MULTIPLE_CHOICES,
    SEEDS,
    STREAM,
    has,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import PROMPT, Server
from conformance.oracle.reported_rows import row_fields
from conformance.oracle.sampling import neutral_params
from conformance.oracle.seeded_draws import assert_matches_seeded_draws
from conformance.verdicts import Evidence, Failed, Level, NonStrict

checks = CheckGroup("seed")

MIN_SEED, MAX_SEED = -(2**63), 2**64 - 1
SAMPLED = {"temperature": 1.5, "max_tokens": 24}


def text(server: Server, seed: Any, **fields: Any) -> str:
    """Return the text of a completion at a high temperature."""
    return server.complete(**{**SAMPLED, "seed": seed, **fields}).text


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def same_seed_same_text(server: Server) -> None:
    """The same request with the same seed has the same text, also at other times."""
    seeds = [server.rng.getrandbits(64) for _ in range(3)]
    first = [text(server, seed) for seed in seeds]
    assert_equal([text(server, seed) for seed in seeds], first, "repeated", server.last)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def different_seeds_differ(server: Server) -> None:
    """Two seeds give different texts: adjacent seeds, and seeds that differ in one of the low
    bits.
    """
    start = server.rng.getrandbits(15)
    seeds = [start, start + 1, start + 2, *(start ^ 1 << bit for bit in (7, 15, 16, 30, 31))]
    assert_distinct(server, seeds)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def all_64_bits(server: Server) -> None:
    """Two seeds that differ only above their lowest 32 bits give different texts, and so do two
    large adjacent seeds.
    """
    start = server.rng.getrandbits(31)
    large = [start + 2**bit for bit in (32, 40, 53, 62, 63)]
    try:
        assert_distinct(server, [start, *large, large[-1] + 1])
    except Failed as failed:
        if text(server, start) == text(server, start + 2**32):
            note = "seed cut to 32 bits"
            raise NonStrict(failed.expected, failed.seen, note=note, at=failed.at) from None
        raise


def assert_distinct(server: Server, seeds: list[int]) -> None:
    """Raise Failed if two seeds give the same text."""
    seed_of: dict[str, int] = {}
    for seed in seeds:
        output = text(server, seed)
        if output in seed_of:
            expected = f"two texts of seeds {seed_of[output]} and {seed}"
            raise Failed(expected, output, at=server.last)
        seed_of[output] = seed


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def modulo_2_64(server: Server) -> None:
    """−1 and 2⁶⁴ − 1 are the same seed, and so are −2⁶³ and 2⁶³."""
    start = server.rng.getrandbits(31)
    for low in -1, MIN_SEED, -start:
        expected = f"one text of seeds {low} and {low + 2**64}"
        signed, unsigned = text(server, low), text(server, low + 2**64)
        assert_that(signed == unsigned, expected, f"{signed!r} and {unsigned!r}", server.last)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def unseeded_differs(server: Server) -> None:
    """With null, and without the field, repeated requests have different texts."""
    for seed in None, ...:
        texts = [text(server, seed) for _ in range(3)]
        assert_that(len(set(texts)) == 3, "three texts", texts, server.last)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS, STREAM)
def streaming_invariant(server: Server) -> None:
    """The text of a seed is the same streamed and not streamed."""
    for seed in 1, 2, 3:
        streamed = server.stream(**SAMPLED, seed=seed).completion
        assert_equal(streamed.text, text(server, seed), f"seed {seed}, streamed", streamed.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def independent_of_other_fields(server: Server) -> None:
    """The draws of a seed do not depend on logprobs, echo, user, max_tokens, or a stop string that
    does not match.
    """
    for seed in 1, 2, 3:
        plain = text(server, seed)
        for fields in other_fields(server):
            seen = text(server, seed, **fields).removeprefix(PROMPT if "echo" in fields else "")
            agrees = plain.startswith(seen) if "max_tokens" in fields else plain == seen
            assert_that(agrees, f"with {fields} the text {plain!r}", seen, server.last)


def other_fields(server: Server) -> Iterator[dict[str, Any]]:
    """Yield the fields that a seed's draws do not depend on, if the server has them."""
    yield {"max_tokens": SAMPLED["max_tokens"] // 2}
    yield {"user": "another"}
    yield {"stop": ["\u241f\u241f"]}
    if has(server, LOGPROBS):
        yield {"logprobs": 3}
    if has(server, ECHO):
        yield {"echo": True}


@checks.truth(Level.MAY, Evidence.EXACT, LOGPROBS, SEEDS)
def draws_match_reference(server: Server) -> None:
    """Each token has the highest sum of logit and Gumbel noise, made by Threefry-2x32 from the
    seed, the choice, the position and the token's id.
    """
    n = {"n": 2} if has(server, MULTIPLE_CHOICES) else {}
    seeds = 0, 7, -1, MIN_SEED, 2**40 + 1, MAX_SEED
    for prompt, seed in zip(PROMPTS, seeds, strict=False):
        fields = {"prompt": prompt, "max_tokens": 8, "temperature": 1, "seed": seed}
        answer = server.complete(**neutral_params(server) | row_fields(server) | fields | n)
        for choice in answer.choices:
            assert_matches_seeded_draws(server, prompt, seed, choice)
