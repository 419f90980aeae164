"""temperature: divides the logits; 0 is greedy."""

from typing import Any

from conformance.assertions.basic import assert_accepted, assert_same_choices, assert_that
from conformance.assertions.greedy_penalties import greedy_choice, greedy_steps
from conformance.assertions.next_token import (
    assert_conditional_frequencies,
    uncertain_distribution,
)
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import (
    LOGPROBS,
    TOKEN_IDS,
    unique_token_names,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import TOKEN_ID
from conformance.oracle.judging import assert_first_token_distribution
from conformance.oracle.prompt_search import discriminating_prompt
from conformance.verdicts import Evidence, Failed, Inconclusive, Level

checks = CheckGroup("temperature")


@checks.protocol(Level.MUST, Evidence.EXACT)
def small_values_accepted(server: Server) -> None:
    """No value above 0 is too small, not even one for which float32 has no normal number."""
    assert_accepted(server, "temperature", [0.01, 1e-6, 1e-40, 5e-324])


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_at_zero(server: Server) -> None:
    """At temperature 0 each token is the argmax of the log-probabilities in its entry, or ties with
    it.
    """
    assert_argmax(server, 0)


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def no_temperature_floor(server: Server) -> None:
    """At temperature 10⁻⁶ each token is the argmax, too: small values are not raised to a floor."""
    assert_argmax(server, 1e-6)


def assert_argmax(server: Server, value: float) -> None:
    """Raise Failed if a token is not the most probable one that is known."""
    for prompt in PROMPTS:
        for step in greedy_steps(
            greedy_choice(server, prompt, temperature=value, **unique_token_names(server))
        ):
            if not step.is_argmax:
                best = max(step.values, key=lambda name: step.values[name])
                expected = f"at temperature {value} {best!r} ({step.values[best]:.3f})"
                raise Failed(expected, f"{step.name!r} ({step.value:.3f})", at=step.at)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def greedy_ignores_seed(server: Server) -> None:
    """At temperature 0 the text is the same with any seed and with none, even at ties."""
    assert_greedy_text(server, 0)


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def subnormal_greedy(server: Server) -> None:
    """A value below the smallest normal float32 is 0: the text is the greedy one, with any seed."""
    assert_greedy_text(server, 1e-40)


def assert_greedy_text(server: Server, value: float) -> None:
    """Raise Failed if the text at a temperature is not the greedy one, whatever the seed."""
    for prompt in PROMPTS[:6]:
        plain = server.complete(prompt=prompt)
        for seed in 1, 2, ...:
            other = server.complete(prompt=prompt, temperature=value, seed=seed)
            assert_same_choices(
                plain.choices, other.choices, f"one text at temperature 0 and at {value}"
            )


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS, TOKEN_IDS)
def greedy_tie_lowest_id(server: Server) -> None:
    """At temperature 0, of several tokens that tie for the largest logit, the one with the lowest
    id is chosen.
    """
    ties = 0
    for prompt in PROMPTS:
        for step in greedy_steps(greedy_choice(server, prompt, **unique_token_names(server))):
            tied = [name for name, value in step.values.items() if value == step.value]
            if not step.is_argmax or len(tied) < 2:
                continue
            ties += 1
            lowest = min(tied, key=id_of)
            assert_that(step.name == lowest, f"the first of {tied}", step.name, step.at)
    if not ties:
        raise Inconclusive("after the tried prompts no two tokens tie for the largest logit")


def id_of(name: str) -> int:
    """Return the id in a token's name."""
    match = TOKEN_ID.fullmatch(name)
    return int(match[1]) if match else -1


@checks.consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_match_logprobs(server: Server) -> None:
    """At temperatures 0.5 and 2 the most probable tokens have, among each other, the frequencies
    that the reported log-probabilities give when they are divided by the temperature.
    """
    distribution = uncertain_distribution(server)
    at_one = distribution.probabilities
    for value in 0.5, 2:
        expected = {name: p ** (1 / value) for name, p in at_one.items()}
        what = f"temperature {value}"
        assert_conditional_frequencies(
            server, distribution, expected, what, [at_one], temperature=value
        )


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def softmax_of_divided_logits(server: Server) -> None:
    """At temperatures 0.5, 1 and 2 tokens are drawn from the softmax of the logits divided by it,
    the least probable ones included.
    """
    for value in 0.5, 1, 2:
        prompt, params = discriminating_prompt(server, temperature_grid(value))
        assert_first_token_distribution(server, prompt, params)


def temperature_grid(value: float) -> Any:
    """Return a grid with a single candidate."""
    return lambda logits: [{"temperature": value}]
