"""Requests that probe the prefix cache, and the number of cached tokens that a server reports."""

from secrets import token_hex
from typing import Any

from conformance.assertions.basic import assert_that
from conformance.harness.capabilities import LOGPROBS, PROMPT_LOGPROBS, SEEDS, has
from conformance.http.client import Server
from conformance.http.response import Completion

STORY = (
    "there was a small house on a hill, and in it lived a dog and a cat who were good friends. "
    "One day the dog went to the market. He wanted to buy a red ball for the cat, but the man who "
    "had the balls was not there. So the dog sat down and waited, and after a long time it began "
    "to rain. Then he went home and said"
)


def uncached_prompt() -> tuple[str, str]:
    """Return a long prompt and a cache key that no request has used, not even in an earlier run."""
    return f"{token_hex(8)}: {STORY}", f"key {token_hex(8)}"


def reported_cached_tokens(answer: Completion) -> int:
    """Return `cached_tokens` of an answer. Raises Failed if the usage has no such number."""
    count = answer.cached_tokens
    assert_that(count is not None, "cached_tokens", answer.usage, answer.at)
    return count or 0


def sampling_variants(server: Server) -> list[dict[str, Any]]:
    """Return the fields of a greedy request and of a seeded one, with all the log-probabilities
    that the server supports.
    """
    logprobs: dict[str, Any] = {"logprobs": 3} if has(server, LOGPROBS) else {}
    greedy = logprobs | {"echo": True} if has(server, PROMPT_LOGPROBS) else logprobs
    seeded = [{"temperature": 1, "seed": 5, **logprobs}] if has(server, SEEDS) else []
    return [{"temperature": 0, **greedy}, *seeded]
