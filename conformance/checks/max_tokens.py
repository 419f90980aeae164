"""max_tokens: the maximum number of tokens of a choice."""

from typing import Any

from conformance.assertions.basic import assert_that
from conformance.assertions.context import assert_fills_context
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import CONTEXT_LENGTH, PROMPT_IDS, SEEDS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Inconclusive, Level

checks = CheckGroup("max_tokens")

ROOM = 20  # tokens: more than 16, which null means to other servers


@checks.consistency(Level.MUST, Evidence.EXACT)
def exact_limit(server: Server) -> None:
    """A choice with the finish_reason `length` has exactly max_tokens tokens, and one with `stop`
    has no more.
    """
    for count in 1, 2, 7:
        answers = [server.complete(prompt=prompt, max_tokens=count) for prompt in PROMPTS[:3]]
        for answer in answers:
            seen, reason = answer.completion_tokens, answer.choice.finish_reason
            valid = seen == count if reason == "length" else seen <= count and reason == "stop"
            assert_that(valid, f"{count} tokens, and length", f"{seen}, and {reason}", answer.at)
        if all(a.choice.finish_reason == "stop" for a in answers):
            raise Inconclusive("every text ended before its limit", at=answers[0].at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def greedy_prefix(server: Server) -> None:
    """A greedy text with a smaller limit is a prefix of one with a larger limit."""
    for prompt in PROMPTS[:3]:
        assert_prefixes(server, prompt=prompt)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def seeded_prefix(server: Server) -> None:
    """With a seed, too, a text with a smaller limit is a prefix of one with a larger limit."""
    for _ in range(3):
        assert_prefixes(server, temperature=1.5, seed=server.rng.getrandbits(31))


def assert_prefixes(server: Server, **fields: Any) -> None:
    """Compare texts of several limits, without the U+FFFD of a character that the limit cuts."""
    answers = [server.complete(max_tokens=count, **fields) for count in (1, 4, 10)]
    for shorter, longer in zip(answers, answers[1:], strict=False):
        begins = longer.text.startswith(shorter.text.rstrip("\ufffd"))
        assert_that(
            begins, f"a text that begins with {shorter.text!r}", repr(longer.text), longer.at
        )


@checks.consistency(Level.MUST, Evidence.EXACT, CONTEXT_LENGTH, PROMPT_IDS)
def clamped_to_context(server: Server) -> None:
    """A value above the room that the prompt leaves in the context is clamped, not refused."""
    for value in 4, 1000, 1_000_000:
        assert_fills_context(server, 3, max_tokens=value)


@checks.consistency(Level.MUST, Evidence.EXACT, CONTEXT_LENGTH, PROMPT_IDS)
def null_fills_context(server: Server) -> None:
    """With null, and without the field, the limit is the room that the prompt leaves in the context
    (and at most 16384, which is not tested).
    """
    for value in None, ...:
        assert_fills_context(server, ROOM, max_tokens=value)
