"""Reproducibility: the same request twice, under concurrent load, and in a list of prompts."""

from collections.abc import Sequence
from typing import Any

from conformance.assertions.basic import assert_equal, assert_same_choices
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS, PROMPT_LISTS, SEEDS, has
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.verdicts import Evidence, Failed, Level, NonStrict

checks = CheckGroup("determinism", spec="generate.generate")

CONCURRENT_REQUESTS = 12
ROUNDING = 1e-3  # of a log-probability
GREEDY = {"temperature": 0, "max_tokens": 24}
SEEDED = {"temperature": 1, "max_tokens": 24, "seed": 7}


def with_logprobs(server: Server, **fields: Any) -> dict[str, Any]:
    """Add log-probabilities if the server has them: they reveal differences in the last bit."""
    return fields | ({"logprobs": 5} if has(server, LOGPROBS) else {})


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, exclusive=True)
def greedy_repeatable(server: Server) -> None:
    """The same request at temperature 0 has the same answer, to the last bit of its
    log-probabilities.
    """
    assert_repeatable(server, GREEDY)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS, exclusive=True)
def seeded_repeatable(server: Server) -> None:
    """The same request with a seed has the same answer, to the last bit of its
    log-probabilities.
    """
    assert_repeatable(server, SEEDED)


def assert_same_bits(first: Sequence[Choice], second: Sequence[Choice], expected: str) -> None:
    """Raise NonStrict if only the last bits of log-probabilities differ, else Failed."""
    try:
        assert_same_choices(first, second, expected)
    except Failed as failed:
        if all(map(equal_up_to_rounding, first, second)):
            note = "the same tokens; their log-probabilities differ by rounding"
            raise NonStrict(failed.expected, failed.seen, note=note, at=failed.at) from None
        raise


def equal_up_to_rounding(first: Choice, second: Choice) -> bool:
    """Return whether two choices have one text, and log-probabilities that are nearly equal."""
    if first.text != second.text or first.json.get("logprobs") is None:
        return False
    pairs = list(zip(first.logprobs.values, second.logprobs.values, strict=False))
    same_length = len(first.logprobs.values) == len(second.logprobs.values) == len(pairs)
    return same_length and all(abs((a or 0) - (b or 0)) <= ROUNDING for a, b in pairs)


def assert_repeatable(server: Server, fields: dict[str, Any]) -> None:
    """Send the same requests three times."""
    for prompt in PROMPTS[:3]:
        body = with_logprobs(server, prompt=prompt, **fields)
        first, *repeats = (server.complete(**body) for _ in range(3))
        for repeat in repeats:
            assert_same_bits(first.choices, repeat.choices, "the same answer")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, exclusive=True)
def greedy_batch_invariant(server: Server) -> None:
    """A request at temperature 0 has the same answer, to the last bit, under concurrent load."""
    assert_batch_invariant(server, GREEDY)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS, exclusive=True)
def seeded_batch_invariant(server: Server) -> None:
    """A request with a seed has the same answer, to the last bit, under concurrent load."""
    assert_batch_invariant(server, SEEDED)


def assert_batch_invariant(server: Server, fields: dict[str, Any]) -> None:
    """Send requests one by one, then again as every third of many concurrent ones."""
    prompts = PROMPTS[: CONCURRENT_REQUESTS // 3]
    bodies = [with_logprobs(server, prompt=prompt, **fields) for prompt in prompts]
    sequential = [server.complete(**body) for body in bodies]
    mixed = [
        bodies[i // 3] if i % 3 == 0 else other_request(server, i)
        for i in range(CONCURRENT_REQUESTS)
    ]
    for first, second in zip(sequential, server.complete_all(mixed)[::3], strict=True):
        assert_same_bits(first.choices, second.choices, "the answer without concurrent requests")


def other_request(server: Server, number: int) -> dict[str, Any]:
    """Return a request of another length and with another seed."""
    prompt = " ".join(server.rng.choices(PROMPTS, k=1 + number % 3))
    tokens = 4 + 3 * number
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 1.5, "seed": number}


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def prompt_list_invariant(server: Server) -> None:
    """At temperature 0 a prompt has the same text, and log-probabilities to the last bit, in a list
    of prompts and in a request of its own.
    """
    fields, prompts = with_logprobs(server, **GREEDY), list(PROMPTS[:4])
    answer = server.complete(prompt=prompts, **fields)
    for prompt, choice in zip(prompts, answer.choices, strict=True):
        [single] = server.complete(prompt=prompt, **fields).choices
        seen, expected = ((c.text, c.json.get("logprobs")) for c in (choice, single))
        assert_equal(seen, expected, f"the answer to {prompt!r}", answer.at)
