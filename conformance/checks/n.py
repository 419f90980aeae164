"""n: the number of choices, each drawn independently."""

import itertools
import math
from typing import Any

from conformance.assertions.basic import assert_equal, assert_same_choices, assert_that
from conformance.assertions.next_token import (
    OTHER_TOKENS,
    assert_distribution,
    normalized,
    uncertain_distribution,
)
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS, MULTIPLE_CHOICES, SEEDS, unique_token_names
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import Completion
from conformance.oracle.sampling import (
    NUM_SAMPLES,
    neutral_params,
)
from conformance.verdicts import Evidence, Failed, Level, NonStrict

checks = CheckGroup("n")

MAX_N = 4
SEED = 1000
SAMPLED = {"temperature": 1.5, "max_tokens": 16}


@checks.protocol(Level.MUST, Evidence.EXACT)
def choice_count(server: Server) -> None:
    """The response has n choices, with the indices from 0 to n − 1."""
    for n in range(1, MAX_N + 1):
        answer = server.complete(n=n, max_tokens=2, temperature=1)
        indices = [choice.json.get("index") for choice in answer.choices]
        assert_that(indices == list(range(n)), f"indices {list(range(n))}", indices, answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, MULTIPLE_CHOICES)
def greedy_choices_equal(server: Server) -> None:
    """At temperature 0 all choices have the same text."""
    for prompt in PROMPTS[:3]:
        answer = complete_n(server, MAX_N, prompt=prompt, temperature=0, max_tokens=16)
        texts = {choice.text for choice in answer.choices}
        assert_that(len(texts) == 1, "one text", sorted(texts), answer.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, MULTIPLE_CHOICES, SEEDS)
def seeded_choices_differ(server: Server) -> None:
    """With a seed, too, no choice is a copy of another."""
    answers = [complete_n(server, MAX_N, seed=SEED + i, **SAMPLED) for i in range(0, 40, 10)]
    texts = [[choice.text for choice in answer.choices] for answer in answers]
    for i, j in itertools.combinations(range(MAX_N), 2):
        # Two choices may be equal by coincidence, but not with every seed.
        if not all(choices[i] == choices[j] for choices in texts):
            continue
        if all(len(set(choices)) == 1 for choices in texts):
            at = answers[0].at
            raise NonStrict("four texts", texts[0], note="one seed for all choices", at=at)
        raise Failed(f"choices {i} and {j} that differ", texts[0], at=answers[0].at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, MULTIPLE_CHOICES, SEEDS)
def choice_independent_of_n(server: Server) -> None:
    """With a seed, choice i is the same for every n."""
    longest = complete_n(server, MAX_N, seed=SEED, **SAMPLED).choices
    for n in range(1, MAX_N):
        choices = complete_n(server, n, seed=SEED, **SAMPLED).choices
        assert_same_choices(longest[:n], choices, f"with n {n} the choices of n {MAX_N}")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, MULTIPLE_CHOICES, SEEDS)
def no_seed_plus_index(server: Server) -> None:
    """Choice i of a seed is not the first choice of the seed plus i."""
    choices = complete_n(server, MAX_N, seed=SEED, **SAMPLED).choices
    if len({choice.text for choice in choices}) == 1:
        return  # copies, which n/seeded-choices-differ reports
    first_choices = [
        complete_n(server, 1, seed=SEED + i, **SAMPLED).choices[0] for i in range(1, MAX_N)
    ]
    for i, (choice, first) in enumerate(zip(choices[1:], first_choices, strict=True), 1):
        if choice.text == first.text:
            expected = f"choice {i} of seed {SEED} unlike choice 0 of seed {SEED + i}"
            raise NonStrict(expected, choice.text, note="seed + choice index", at=first.at)


@checks.consistency(Level.MUST, Evidence.STATISTICAL, MULTIPLE_CHOICES, LOGPROBS)
def independent_draws(server: Server) -> None:
    """The first tokens of all choices have the reported frequencies, and those of two choices of
    one request agree as often as independent draws do.
    """
    distribution = uncertain_distribution(server)
    p = distribution.probabilities | {OTHER_TOKENS: distribution.other_mass}
    fields = (
        neutral_params(server)
        | unique_token_names(server)
        | {"prompt": distribution.prompt, "logprobs": 1}
    )
    tokens: list[list[str]] = []
    while len(tokens) < NUM_SAMPLES // 2:
        answer = complete_n(
            server, MAX_N, **fields, max_tokens=1, temperature=1, seed=server.rng.getrandbits(31)
        )
        names = [choice.logprobs.tokens[0] for choice in answer.choices]
        tokens.append([name if name in p else OTHER_TOKENS for name in names])
    agreement = agreement_distribution(p)
    # Each round pairs the four choices in another way, so the pairs of a round are independent.
    for pairs in ((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)):
        samples = [
            names[i] if names[i] == names[j] and names[i] != OTHER_TOKENS else "no"
            for names in tokens
            for i, j in pairs
        ]
        assert_distribution(server, samples, agreement, "independent draws:", answer.at)
    assert_distribution(
        server, [name for names in tokens for name in names], p, "four choices", answer.at
    )


def agreement_distribution(p: dict[str, float]) -> dict[str, float]:
    """Return the probability that two independent draws are both a token, for each known token."""
    p = normalized(p)
    equal_draws = {name: value**2 for name, value in p.items() if name != OTHER_TOKENS}
    return equal_draws | {"no": 1 - math.fsum(equal_draws.values())}


def complete_n(server: Server, n: int, **fields: Any) -> Completion:
    """Return an answer with n choices. Raises Failed if there are more or fewer."""
    answer = server.complete(n=n, **fields)
    assert_equal(len(answer.choices), n, "choices", answer.at)
    return answer
