"""temperature: divides the logits; 0 is greedy."""

from typing import Any

from conformance.assertions.basic import NO_NUMBERS, accepted, refused, require, same
from conformance.assertions.greedy_penalties import chosen, greedy
from conformance.assertions.next_token import (
    as_often_among,
    default_is,
    first_row,
    naming,
)
from conformance.harness.capabilities import LOGPROBS, TOKEN_ID, TOKEN_IDS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.oracle.sampling import PROMPTS, first_token, telling
from conformance.verdicts import Evidence, Failed, Inconclusive, Level


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value above 2 or below 0 is a 422 that names the field."""
    refused(server, "temperature", [2.1, -0.1, 1e9])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_number_is_refused(server: Server) -> None:
    """A string, a list or an object is a 422 that names the field."""
    refused(server, "temperature", NO_NUMBERS)


@protocol(Level.MUST, Evidence.EXACT)
def the_ends_of_the_range_are_accepted(server: Server) -> None:
    """0 and 2 are values like any other."""
    accepted(server, "temperature", [0, 2, 0.0, 2.0])


@protocol(Level.MUST, Evidence.EXACT)
def small_values_are_accepted(server: Server) -> None:
    """However small a value is, it is no error: not even one that float32 has no normal number
    for.
    """
    accepted(server, "temperature", [0.01, 1e-6, 1e-40, 5e-324])


@consistency(Level.MUST, Evidence.METAMORPHIC)
def default_is_one(server: Server) -> None:
    """Without the field the draws are those of temperature 1."""
    default_is(server, "temperature", 1, ...)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def zero_is_greedy(server: Server) -> None:
    """At temperature 0 each token is the likeliest, or as likely, by its own log-probabilities."""
    likeliest(server, 0)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def nearly_zero_is_greedy(server: Server) -> None:
    """At temperature 10⁻⁶ too: there is no floor below which the value does not count."""
    likeliest(server, 1e-6)


def likeliest(server: Server, value: float) -> None:
    """Raises Failed if a token is not the likeliest that was known."""
    for prompt in PROMPTS:
        for step in chosen(greedy(server, prompt, temperature=value, **naming(server))):
            if not step.likeliest:
                best = max(step.values, key=lambda name: step.values[name])
                expected = f"at temperature {value} {best!r} ({step.values[best]:.3f})"
                raise Failed(expected, f"{step.name!r} ({step.value:.3f})", at=step.at)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def zero_ignores_the_seed(server: Server) -> None:
    """At temperature 0 the text is the same with any seed and with none, ties or not."""
    one_text(server, 0)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def below_the_smallest_float_is_zero(server: Server) -> None:
    """A value below the smallest normal float32 is 0: the text is the greedy one, with any seed."""
    one_text(server, 1e-40)


def one_text(server: Server, value: float) -> None:
    """Raises Failed if the text at a temperature is not the greedy one, whatever the seed."""
    for prompt in PROMPTS[:6]:
        plain = server.ask(prompt=prompt)
        for seed in 1, 2, ...:
            other = server.ask(prompt=prompt, temperature=value, seed=seed)
            same(plain.choices, other.choices, f"one text at temperature 0 and at {value}")


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS, TOKEN_IDS)
def of_equals_the_lowest_id(server: Server) -> None:
    """At temperature 0, of several tokens that are the likeliest, the one with the lowest id is
    chosen.
    """
    ties = 0
    for prompt in PROMPTS:
        for step in chosen(greedy(server, prompt, **naming(server))):
            equals = [name for name, value in step.values.items() if value == step.value]
            if not step.likeliest or len(equals) < 2:
                continue
            ties += 1
            require(
                step.name == min(equals, key=number), f"the first of {equals}", step.name, step.at
            )
    if not ties:
        raise Inconclusive("after the prompts tried no two tokens are the likeliest")


def number(name: str) -> int:
    """The id in a token's name."""
    match = TOKEN_ID.fullmatch(name)
    return int(match[1]) if match else -1


@consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_as_reported(server: Server) -> None:
    """At temperatures 0.5 and 2 the likeliest tokens are drawn, among each other, as often as the
    reported log-probabilities say when they are divided by the temperature.
    """
    row = first_row(server)
    at_one = row.probabilities
    for value in 0.5, 2:
        expected = {name: p ** (1 / value) for name, p in at_one.items()}
        what = f"temperature {value}"
        as_often_among(server, row, expected, what, [at_one], temperature=value)


@truth(Level.MUST, Evidence.STATISTICAL)
def divides_the_logits(server: Server) -> None:
    """At temperatures 0.5, 1 and 2 tokens are drawn from the softmax of the logits that were
    divided by it: all of them, however unlikely.
    """
    for value in 0.5, 1, 2:
        prompt, params = telling(server.truth, at(value))
        first_token(server, prompt, params)


def at(value: float) -> Any:
    return lambda logits: [{"temperature": value}]
