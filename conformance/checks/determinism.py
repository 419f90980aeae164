"""What stays the same: the same request twice, alone or in a crowd, as one of several prompts."""

from collections.abc import Sequence
from typing import Any

from conformance.assertions.basic import equal, same
from conformance.harness.capabilities import LOGPROBS, PROMPT_LISTS, SEEDS, has
from conformance.harness.registry import consistency
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Evidence, Failed, Level, NonStrict

RESTS_ON = "generate.generate"
CROWD = 12
ROUNDING = 1e-3  # of a log-probability
GREEDY = {"temperature": 0, "max_tokens": 24}
SEEDED = {"temperature": 1, "max_tokens": 24, "seed": 7}


def asked(server: Server, **fields: Any) -> dict[str, Any]:
    """With log-probabilities, if the server has them: they show the last bit."""
    return fields | ({"logprobs": 5} if has(server, LOGPROBS) else {})


@consistency(Level.MUST, Evidence.METAMORPHIC, alone=True)
def a_greedy_request_twice(server: Server) -> None:
    """The same request at temperature 0 has the same answer, to the last bit of its
    log-probabilities.
    """
    again(server, GREEDY)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS, alone=True)
def a_seeded_request_twice(server: Server) -> None:
    """The same request with a seed has the same answer, to the last bit of its
    log-probabilities.
    """
    again(server, SEEDED)


def the_same(one: Sequence[Choice], other: Sequence[Choice], expected: str) -> None:
    """Raises NonStrict if they differ in the last bits of their log-probabilities only."""
    try:
        same(one, other, expected)
    except Failed as failed:
        if all(map(but_for_rounding, one, other)):
            note = "the same tokens; their log-probabilities round otherwise"
            raise NonStrict(failed.expected, failed.seen, note=note, at=failed.at) from None
        raise


def but_for_rounding(one: Choice, other: Choice) -> bool:
    if one.text != other.text or one.json.get("logprobs") is None:
        return False
    pairs = list(zip(one.rows.values, other.rows.values, strict=False))
    alike = len(one.rows.values) == len(other.rows.values) == len(pairs)
    return alike and all(abs((a or 0) - (b or 0)) <= ROUNDING for a, b in pairs)


def again(server: Server, fields: dict[str, Any]) -> None:
    for prompt in PROMPTS[:3]:
        body = asked(server, prompt=prompt, **fields)
        first, *others = (server.ask(**body) for _ in range(3))
        for other in others:
            the_same(first.choices, other.choices, "the same answer")


@consistency(Level.MUST, Evidence.METAMORPHIC, alone=True)
def a_greedy_request_in_a_crowd(server: Server) -> None:
    """A request at temperature 0 has the same answer, to the last bit, while others are
    answered.
    """
    in_a_crowd(server, GREEDY)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS, alone=True)
def a_seeded_request_in_a_crowd(server: Server) -> None:
    """A request with a seed has the same answer, to the last bit, while others are answered."""
    in_a_crowd(server, SEEDED)


def in_a_crowd(server: Server, fields: dict[str, Any]) -> None:
    """Every third request of a crowd is one that was answered alone before."""
    bodies = [asked(server, prompt=prompt, **fields) for prompt in PROMPTS[: CROWD // 3]]
    alone = [server.ask(**body) for body in bodies]
    crowd = [bodies[i // 3] if i % 3 == 0 else bystander(server, i) for i in range(CROWD)]
    for one, other in zip(alone, server.ask_all(crowd)[::3], strict=True):
        the_same(one.choices, other.choices, "the answer that it has alone")


def bystander(server: Server, number: int) -> dict[str, Any]:
    """Longer or shorter, and with chance of its own."""
    prompt = " ".join(server.rng.choices(PROMPTS, k=1 + number % 3))
    tokens = 4 + 3 * number
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 1.5, "seed": number}


@consistency(Level.MUST, Evidence.METAMORPHIC, PROMPT_LISTS)
def a_prompt_in_a_list(server: Server) -> None:
    """At temperature 0 a prompt has the same text, and log-probabilities to the last bit, as one of
    several and by itself.
    """
    fields, prompts = asked(server, **GREEDY), list(PROMPTS[:4])
    answer = server.ask(prompt=prompts, **fields)
    for prompt, choice in zip(prompts, answer.choices, strict=True):
        [alone] = server.ask(prompt=prompt, **fields).choices
        seen, expected = ((c.text, c.json.get("logprobs")) for c in (choice, alone))
        equal(seen, expected, f"the answer to {prompt!r}", answer.at)
