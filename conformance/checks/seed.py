"""seed: where chance starts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from conformance.assertions.basic import NO_NUMBERS, accepted, equal, refused, require
from conformance.assertions.next_token import naming
from conformance.harness import registry
from conformance.harness.capabilities import (
    ECHO,
    LOGPROBS,
    SEEDS,
    SEVERAL,
    STREAM,
    has,
)
from conformance.harness.registry import consistency, protocol
from conformance.http.client import PROMPT, Server
from conformance.http.response import Choice
from conformance.oracle.sampling import PROMPTS, neutral, nudged
from conformance.oracle.truth import Step, Truth
from conformance.verdicts import Evidence, Failed, Level, NonStrict
from reference import sampler
from reference.threefry import noise

LOWEST, HIGHEST = -(2**63), 2**64 - 1
WARM = {"temperature": 1.5, "max_tokens": 24}


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value below −2⁶³, or of 2⁶⁴ and more, is a 422 that names the field."""
    refused(server, "seed", [LOWEST - 1, HIGHEST + 1, 10**30])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_integer_is_refused(server: Server) -> None:
    """A fraction, a string, a list or an object is a 422 that names the field."""
    refused(server, "seed", [1.5, *NO_NUMBERS])


@protocol(Level.MUST, Evidence.EXACT)
def the_ends_of_the_range_are_accepted(server: Server) -> None:
    """−2⁶³ and 2⁶⁴ − 1 are values like any other, and so are 0 and −1."""
    accepted(server, "seed", [LOWEST, -1, 0, 2**63, HIGHEST])


def text(server: Server, seed: Any, **fields: Any) -> str:
    """Of a completion in which chance has much to say."""
    return server.ask(**{**WARM, "seed": seed, **fields}).text


@consistency(Level.MUST, Evidence.METAMORPHIC)
def one_seed_one_text(server: Server) -> None:
    """The same request with the same seed has the same text, also at other times."""
    seeds = [server.rng.getrandbits(64) for _ in range(3)]
    first = [text(server, seed) for seed in seeds]
    equal([text(server, seed) for seed in seeds], first, "again", server.last)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def other_seeds_other_texts(server: Server) -> None:
    """Two seeds have two texts: those next to each other, and those that differ in one bit."""
    start = server.rng.getrandbits(15)
    seeds = [start, start + 1, start + 2, *(start ^ 1 << bit for bit in (7, 15, 16, 30, 31))]
    distinct(server, seeds)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def all_bits_count(server: Server) -> None:
    """Two seeds that differ only beyond their lowest 32 bits have two texts, and so have two large
    ones that are next to each other.
    """
    start = server.rng.getrandbits(31)
    large = [start + 2**bit for bit in (32, 40, 53, 62, 63)]
    try:
        distinct(server, [start, *large, large[-1] + 1])
    except Failed as failed:
        if text(server, start) == text(server, start + 2**32):
            note = "seed cut to 32 bits"
            raise NonStrict(failed.expected, failed.seen, note=note, at=failed.at) from None
        raise


def distinct(server: Server, seeds: list[int]) -> None:
    """Raises Failed if two seeds have one text."""
    found: dict[str, int] = {}
    for seed in seeds:
        written = text(server, seed)
        if written in found:
            raise Failed(f"two texts of seeds {found[written]} and {seed}", written, at=server.last)
        found[written] = seed


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def counts_modulo_two_to_the_64(server: Server) -> None:
    """−1 and 2⁶⁴ − 1 are the same seed, and so are −2⁶³ and 2⁶³."""
    start = server.rng.getrandbits(31)
    for low in -1, LOWEST, -start:
        expected = f"one text of seeds {low} and {low + 2**64}"
        one, other = text(server, low), text(server, low + 2**64)
        require(one == other, expected, f"{one!r} and {other!r}", server.last)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def without_one_chance_is_fresh(server: Server) -> None:
    """With null, and without the field, each text is another."""
    for seed in None, ...:
        found = [text(server, seed) for _ in range(3)]
        require(len(set(found)) == 3, "three texts", found, server.last)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS, STREAM)
def streamed_or_not(server: Server) -> None:
    """The text of a seed is the same as events and as a whole."""
    for seed in 1, 2, 3:
        streamed = server.stream(**WARM, seed=seed).answer
        equal(streamed.text, text(server, seed), f"seed {seed}, streamed", streamed.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def nothing_else_enters(server: Server) -> None:
    """What a seed draws does not depend on logprobs, echo, user, a stop string that never comes, or
    max_tokens.
    """
    for seed in 1, 2, 3:
        plain = text(server, seed)
        for fields in aside(server):
            found = text(server, seed, **fields).removeprefix(PROMPT if "echo" in fields else "")
            agrees = plain.startswith(found) if "max_tokens" in fields else plain == found
            require(agrees, f"with {fields} the text {plain!r}", found, server.last)


def aside(server: Server) -> Iterator[dict[str, Any]]:
    """What should not matter, as far as the server can do it."""
    yield {"max_tokens": WARM["max_tokens"] // 2}
    yield {"user": "another"}
    yield {"stop": ["\u241f\u241f"]}
    if has(server, LOGPROBS):
        yield {"logprobs": 3}
    if has(server, ECHO):
        yield {"echo": True}


@registry.truth(Level.MAY, Evidence.EXACT, LOGPROBS, SEEDS)
def draws_are_those_of_the_reference(server: Server) -> None:
    """Each token has the highest sum of logit and Gumbel noise, made by Threefry-2x32 from the
    seed, the choice, the position and the token's id.
    """
    n = {"n": 2} if has(server, SEVERAL) else {}
    for prompt, seed in zip(PROMPTS, (0, 7, -1, LOWEST, 2**40 + 1, HIGHEST), strict=False):
        fields = {"prompt": prompt, "max_tokens": 8, "temperature": 1, "seed": seed, "logprobs": 1}
        answer = server.ask(**neutral(server) | naming(server) | fields | n)
        for choice in answer.choices:
            follows(server.truth, prompt, seed, choice)


def follows(truth: Truth, prompt: str, seed: int, choice: Choice) -> None:
    """Raises NonStrict for a token that the reference would not choose."""
    steps = truth.steps(prompt, {"temperature": 1.0}, truth.token_ids(choice))
    for position, step in enumerate(steps):
        drawn = noise(seed, choice.index, position, len(step.logits))
        if not would_choose(step, drawn, truth.tolerance):
            own = sampler.sample(step.logits, step.history, drawn)
            raise NonStrict(
                f"choice {choice.index} of seed {seed}: {truth.text(prompt, own)!r} as token "
                f"{position + 1}",
                f"{truth.text(prompt, step.token)!r}, of {choice.text!r}",
                note="a generator of its own",
                at=choice.at,
            )


def would_choose(step: Step, drawn: np.ndarray, tolerance: float) -> bool:
    """Whether a token is the reference's choice, or is if logits are off by the tolerance."""
    tries = [step.logits, *nudged(step.logits, tolerance)]
    return any(sampler.sample(x, step.history, drawn) == step.token for x in tries)
