"""max_tokens: the most tokens of a choice."""

from typing import Any

from conformance.assertions.basic import equal, refused, require, status
from conformance.harness.capabilities import CONTEXT, PROMPT_IDS, SEEDS, context_length
from conformance.harness.registry import consistency, protocol
from conformance.http.client import Server
from conformance.http.response import Answer
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Evidence, Inconclusive, Level

LONGEST = 8192  # tokens of a context that it is fair to fill
ROOM = 20  # more than the 16 that null means elsewhere
FILLERS = (5, 300, 1000)  # ids of which a prompt of the right length is made


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value below 1 or above 1,000,000 is a 422 that names the field."""
    refused(server, "max_tokens", [0, -1, 1_000_001, 2**63])


@protocol(Level.MUST, Evidence.EXACT)
def wrong_types_are_refused(server: Server) -> None:
    """A value that is no whole number is a 422 that names the field."""
    refused(server, "max_tokens", [1.5, "many", [8], {}])


@consistency(Level.MUST, Evidence.EXACT)
def so_many_and_no_more(server: Server) -> None:
    """A choice that does not end by itself has exactly that many tokens and the finish_reason
    `length`; one that does has no more.
    """
    for count in 1, 2, 7:
        answers = [server.ask(prompt=prompt, max_tokens=count) for prompt in PROMPTS[:3]]
        for answer in answers:
            seen, reason = answer.completion_tokens, answer.choice.finish_reason
            well = seen == count if reason == "length" else seen <= count and reason == "stop"
            require(well, f"{count} tokens, and length", f"{seen}, and {reason}", answer.at)
        if all(a.choice.finish_reason == "stop" for a in answers):
            raise Inconclusive("every text ended by itself", at=answers[0].at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def fewer_are_the_beginning_of_more(server: Server) -> None:
    """A greedy text of fewer tokens is the beginning of one of more."""
    for prompt in PROMPTS[:3]:
        beginnings(server, prompt=prompt)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def fewer_draw_what_more_draw(server: Server) -> None:
    """With a seed, too, a text of fewer tokens is the beginning of one of more."""
    for _ in range(3):
        beginnings(server, temperature=1.5, seed=server.rng.getrandbits(31))


def beginnings(server: Server, **fields: Any) -> None:
    """A character that is cut short is not compared: what stands for it is U+FFFD."""
    answers = [server.ask(max_tokens=count, **fields) for count in (1, 4, 10)]
    for shorter, longer in zip(answers, answers[1:], strict=False):
        begins = longer.text.startswith(shorter.text.rstrip("\ufffd"))
        require(begins, f"a text that begins with {shorter.text!r}", repr(longer.text), longer.at)


@consistency(Level.MUST, Evidence.EXACT, CONTEXT, PROMPT_IDS)
def the_context_limits_it(server: Server) -> None:
    """A value beyond what the context has left is limited, not refused."""
    for value in 4, 1000, 1_000_000:
        filled(server, 3, max_tokens=value)


@consistency(Level.MUST, Evidence.EXACT, CONTEXT, PROMPT_IDS)
def null_is_what_is_left(server: Server) -> None:
    """With null, and without the field, a choice has as many tokens as the context has left (and
    16384 at most, which is not tried).
    """
    for value in None, ...:
        filled(server, ROOM, max_tokens=value)


def filled(server: Server, room: int, **fields: Any) -> None:
    """A prompt that leaves some room in the context, and a choice that fills it."""
    context = context_length(server) or 0
    if context > LONGEST:
        raise Inconclusive(f"a context of {context} tokens is too long to be filled")
    for token in FILLERS:
        reply = server.post(prompt=[token] * (context - room), **fields)
        status(reply, 200)
        answer = Answer(reply.json, reply.at)
        if answer.choice.finish_reason == "length":
            equal(answer.completion_tokens, room, "completion_tokens", answer.at)
            return
    raise Inconclusive("every text ended by itself")
