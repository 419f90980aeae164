"""n: that many sequences, each drawn by itself."""

import itertools
import math
from typing import Any

from conformance.assertions.basic import (
    NO_NUMBERS,
    accepted,
    equal,
    refused,
    require,
    same,
)
from conformance.assertions.next_token import REST, first_row, hold, naming, normalised
from conformance.harness.capabilities import LOGPROBS, SEEDS, SEVERAL
from conformance.harness.registry import consistency, protocol
from conformance.http.client import Server
from conformance.http.response import Answer
from conformance.oracle.sampling import PROMPTS, SAMPLES, neutral
from conformance.verdicts import Evidence, Failed, Level, NonStrict

MOST = 4
SEED = 1000
WARM = {"temperature": 1.5, "max_tokens": 16}


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value below 1 or above 4 is a 422 that names the field."""
    refused(server, "n", [0, 5, -1, 10**9])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_integer_is_refused(server: Server) -> None:
    """A fraction, a string, a list or an object is a 422 that names the field."""
    refused(server, "n", [1.5, *NO_NUMBERS])


@protocol(Level.MUST, Evidence.EXACT)
def the_ends_of_the_range_are_accepted(server: Server) -> None:
    """1 and 4 are values like any other."""
    accepted(server, "n", [1, 4])


@protocol(Level.MUST, Evidence.EXACT)
def default_is_one(server: Server) -> None:
    """Without the field one choice comes back."""
    answer = server.ask()
    equal(len(answer.choices), 1, "choices", answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def so_many_choices_come_back(server: Server) -> None:
    """n choices come back, with the indices from 0 to n − 1."""
    for n in range(1, MOST + 1):
        answer = server.ask(n=n, max_tokens=2, temperature=1)
        indices = [choice.json.get("index") for choice in answer.choices]
        require(indices == list(range(n)), f"indices {list(range(n))}", indices, answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEVERAL)
def greedy_choices_are_equal(server: Server) -> None:
    """At temperature 0 all choices have the same text."""
    for prompt in PROMPTS[:3]:
        answer = several(server, MOST, prompt=prompt, temperature=0, max_tokens=16)
        texts = {choice.text for choice in answer.choices}
        require(len(texts) == 1, "one text", sorted(texts), answer.at)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEVERAL, SEEDS)
def choices_differ(server: Server) -> None:
    """With a seed, too, no choice is a copy of another."""
    answers = [several(server, MOST, seed=SEED + i, **WARM) for i in range(0, 40, 10)]
    rows = [[choice.text for choice in answer.choices] for answer in answers]
    for i, j in itertools.combinations(range(MOST), 2):
        if not all(row[i] == row[j] for row in rows):
            continue
        if all(len(set(row)) == 1 for row in rows):
            at = answers[0].at
            raise NonStrict("four texts", rows[0], note="one seed for all choices", at=at)
        raise Failed(f"choices {i} and {j} that differ", rows[0], at=answers[0].at)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEVERAL, SEEDS)
def a_choice_does_not_depend_on_n(server: Server) -> None:
    """With a seed, choice i is the same for every n."""
    most = several(server, MOST, seed=SEED, **WARM).choices
    for n in range(1, MOST):
        fewer = several(server, n, seed=SEED, **WARM).choices
        same(most[:n], fewer, f"with n {n} the choices of n {MOST}")


@consistency(Level.MUST, Evidence.METAMORPHIC, SEVERAL, SEEDS)
def a_choice_is_not_of_the_next_seed(server: Server) -> None:
    """Choice i of a seed is not the first choice of the seed that is i higher."""
    choices = several(server, MOST, seed=SEED, **WARM).choices
    if len({choice.text for choice in choices}) == 1:
        return  # they are copies, of which another check tells
    alone = [several(server, 1, seed=SEED + i, **WARM).choices[0] for i in range(1, MOST)]
    for i, (choice, other) in enumerate(zip(choices[1:], alone, strict=True), 1):
        if choice.text == other.text:
            expected = f"choice {i} of seed {SEED} unlike choice 0 of seed {SEED + i}"
            raise NonStrict(expected, choice.text, note="seed + choice index", at=other.at)


@consistency(Level.MUST, Evidence.STATISTICAL, SEVERAL, LOGPROBS)
def choices_are_drawn_independently(server: Server) -> None:
    """The first tokens of all choices are drawn as often as is reported, and those of two choices
    of one request agree as often as if they had nothing to do with each other.
    """
    row = first_row(server)
    p = row.probabilities | {REST: row.rest}
    asked = neutral(server) | naming(server) | {"prompt": row.prompt, "logprobs": 1}
    tokens: list[list[str]] = []
    while len(tokens) < SAMPLES // 2:
        answer = several(
            server, MOST, **asked, max_tokens=1, temperature=1, seed=server.rng.getrandbits(31)
        )
        names = [choice.rows.tokens[0] for choice in answer.choices]
        tokens.append([name if name in p else REST for name in names])
    agreement = agreeing(p)
    for pairs in ((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)):
        samples = [
            row[i] if row[i] == row[j] and row[i] != REST else "no"
            for row in tokens
            for i, j in pairs
        ]
        hold(server, samples, agreement, "choices that agree by chance:", answer.at)
    hold(server, [name for row in tokens for name in row], p, "four choices", answer.at)


def agreeing(p: dict[str, float]) -> dict[str, float]:
    """How likely two independent draws are the same token, of those that are known."""
    p = normalised(p)
    equals = {name: value**2 for name, value in p.items() if name != REST}
    return equals | {"no": 1 - math.fsum(equals.values())}


def several(server: Server, n: int, **fields: Any) -> Answer:
    """Raises Failed if it has not so many choices."""
    answer = server.ask(n=n, **fields)
    equal(len(answer.choices), n, "choices", answer.at)
    return answer
