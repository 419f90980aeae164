"""Requests that fill the context of a server."""

from typing import Any

from conformance.assertions.basic import assert_equal, assert_status
from conformance.harness.capabilities import context_length
from conformance.http.client import Server
from conformance.http.response import Completion
from conformance.verdicts import Inconclusive

MAX_FILLED_CONTEXT = 8192  # tokens: filling a longer context takes too long
FILLERS = (5, 300, 1000)  # token ids that a prompt of an exact length is made of


def assert_fills_context(server: Server, room: int, **fields: Any) -> None:
    """Raise Failed unless a choice fills a context in which the prompt leaves `room` tokens."""
    context = context_length(server) or 0
    if context > MAX_FILLED_CONTEXT:
        raise Inconclusive(f"a context of {context} tokens is too long to be filled")
    for token in FILLERS:
        reply = server.post(prompt=[token] * (context - room), **fields)
        assert_status(reply, 200)
        answer = Completion(reply.json, reply.at)
        if answer.choice.finish_reason == "length":
            assert_equal(answer.completion_tokens, room, "completion_tokens", answer.at)
            return
    raise Inconclusive("every text ended before its limit")
