"""All steps of the sampler together: random parameters, any prompt, several tokens of each."""

import random
from typing import Any

from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.oracle.evalues import SequentialTest
from conformance.oracle.greedy_paths import completion_with_ids
from conformance.oracle.reported_rows import output_steps
from conformance.oracle.sampling import fresh_seed
from conformance.oracle.statistics import rejects
from conformance.verdicts import Evidence, Level

checks = CheckGroup("sampler", spec="sampler.final_logits")

REQUESTS, LENGTH = 48, 12
ACTIVE = 0.6  # probability that a parameter is not off


@checks.truth(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_match_reference(server: Server) -> None:
    """With any parameters each token is one that the steps keep, in their order, and has the
    frequency that the reference gives it, conditional on the tokens before it.
    """
    test = SequentialTest(server)
    for turn in range(REQUESTS):
        params = (repetitive_params if turn % 2 else any_params)(server.rng)
        prompt = server.rng.choice(PROMPTS)
        fields = {"prompt": prompt, "max_tokens": LENGTH, **fresh_seed(server)}
        choice, _ = completion_with_ids(server, **params, **fields)
        for position, step in enumerate(output_steps(server, prompt, params, choice), 1):
            test.add(step, f"token {position} of {choice.text!r} with {params}", choice)
        if rejects(test.evidence, server.alpha):
            raise test.verdict("tokens as often as the reference draws them", test.odds, choice)


def any_params(rng: random.Random) -> dict[str, Any]:
    """Draw values of all parameters of the sampler, some of which are off."""

    def maybe(value: float, off: float) -> float:
        return value if rng.random() < ACTIVE else off

    def between(low: float, high: float) -> float:
        return round(rng.uniform(low, high), 3)

    return {
        "temperature": between(0.7, 2),
        "min_p": maybe(between(0, 0.2), 0),
        "top_k": maybe(rng.randint(3, 20), 0),
        "top_p": maybe(between(0.5, 1), 1),
        "repetition_penalty": maybe(between(0.85, 1.15), 1),
        "frequency_penalty": maybe(between(-2, 1), 0),
        "presence_penalty": maybe(between(-2, 1), 0),
    }


def repetitive_params(rng: random.Random) -> dict[str, Any]:
    """Draw parameters that repeat tokens: with a small top_k and negative penalties, an error in a
    penalty changes which tokens are sampled.
    """
    params = any_params(rng) | {"min_p": 0, "top_p": 1, "top_k": rng.randint(3, 20)}
    for name in "frequency_penalty", "presence_penalty":
        params[name] = -abs(params[name])
    return params
