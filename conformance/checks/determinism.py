"""What stays the same: the same request twice, alone or in a crowd, as one of several prompts."""

from typing import Any

from conformance.capabilities import LOGPROBS, PROMPT_LISTS, SEEDS, has
from conformance.client import Server
from conformance.demands import equal, same
from conformance.registry import consistency
from conformance.sampling import PROMPTS
from conformance.verdicts import Evidence, Level

RESTS_ON = "generate.generate"
CROWD = 12
GREEDY = {"temperature": 0, "max_tokens": 24}
SEEDED = {"temperature": 1, "max_tokens": 24, "seed": 7}


def asked(server: Server, **fields: Any) -> dict[str, Any]:
    """With log-probabilities, if the server has them: they show the last bit."""
    return fields | ({"logprobs": 5} if has(server, LOGPROBS) else {})


@consistency(Level.MUST, Evidence.METAMORPHIC)
def a_greedy_request_twice(server: Server) -> None:
    """The same request at temperature 0 has the same answer, to the last bit of its
    log-probabilities.
    """
    again(server, GREEDY)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def a_seeded_request_twice(server: Server) -> None:
    """The same request with a seed has the same answer, to the last bit of its
    log-probabilities.
    """
    again(server, SEEDED)


def again(server: Server, fields: dict[str, Any]) -> None:
    for prompt in PROMPTS[:3]:
        body = asked(server, prompt=prompt, **fields)
        first, *others = (server.ask(**body) for _ in range(3))
        for other in others:
            same(first.choices, other.choices, "the same answer")


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
        same(one.choices, other.choices, "the answer that it has alone")


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
