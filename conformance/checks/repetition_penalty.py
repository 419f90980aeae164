"""repetition_penalty: divides the logits of tokens in prompt or output, or multiplies them."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.assertions.basic import NO_NUMBERS, accepted, refused, require
from conformance.assertions.greedy_penalties import (
    LENGTH,
    WITHIN,
    Chosen,
    acts,
    chosen,
    greedy,
    perhaps_in,
    repeating,
    rival,
)
from conformance.assertions.next_token import GAP, default_penalty_is
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.oracle.greedy_paths import path, telling_path
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Evidence, Inconclusive, Level, NonStrict

GRID = [{"repetition_penalty": value} for value in (0.5, 1.3, 5)]


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value above 5 or below 0.01 is a 422 that names the field."""
    refused(server, "repetition_penalty", [5.1, 0.009, 0, -1, 1e9])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_number_is_refused(server: Server) -> None:
    """A string, a list or an object is a 422 that names the field."""
    refused(server, "repetition_penalty", NO_NUMBERS)


@protocol(Level.MUST, Evidence.EXACT)
def the_ends_of_the_range_are_accepted(server: Server) -> None:
    """0.01 and 5 are values like any other."""
    accepted(server, "repetition_penalty", [0.01, 5, 1, 5.0])


@consistency(Level.MUST, Evidence.METAMORPHIC)
def default_is_one(server: Server) -> None:
    """Without the field the text is the one with 1."""
    default_penalty_is(server, "repetition_penalty", 1)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def one_is_off(server: Server) -> None:
    """With 1 each token of a greedy text is the likeliest by its own log-probabilities."""
    for prompt in PROMPTS[:5]:
        for step in chosen(greedy(server, prompt, repetition_penalty=1)):
            require(step.likeliest, "the likeliest token", step.name, step.at)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def new_tokens_are_left_as_they_are(server: Server) -> None:
    """Above 1 no token is chosen that is less likely, by the reported log-probabilities, than one
    that stands neither in the prompt nor in the output; below 1 no such token is chosen unless it
    is the likeliest of all.
    """
    for value in 5, 0.5:
        moved = False
        for prompt in PROMPTS[:5]:
            steps = list(chosen(greedy(server, prompt, repetition_penalty=value)))
            for step in steps:
                limit = most(step, prompt, value)
                seen = f"{step.name!r} at {step.value:.3f}"
                require(step.value >= limit - GAP, f"one at {limit:.3f} or above", seen, step.at)
            moved = moved or not all(step.likeliest for step in steps)
        if not moved:
            acts(server, "repetition_penalty", value, 1)
            raise Inconclusive("the log-probabilities are those after the penalty", at=server.last)


def most(step: Chosen, prompt: str, value: float) -> float:
    """The log-probability that a choice must have."""
    if value > 1:
        new = [n for n in step.values if not perhaps_in(n, prompt) and not step.before.get(n)]
        return max((step.values[n] for n in new), default=step.value)
    is_new = not perhaps_in(step.name, prompt) and not step.before.get(step.name)
    return max(step.values.values()) if is_new else step.value


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def the_prompt_is_read_too(server: Server) -> None:
    """With 5 a token of the prompt that is little likelier than a new one is not the first to be
    chosen.
    """
    close = [
        row
        for row, inside in repeating(server)
        if row.best in inside and GAP < (rival(row, inside) or 0) < WITHIN
    ]
    if len(close) < 2:  # a logit near 0 hardly moves, and two of them are unlikely
        raise Inconclusive("after the prompts tried no token of the prompt is little likelier")
    for row in close:
        [first] = chosen(greedy(server, row.prompt, 1, repetition_penalty=5))
        if first.name != row.best:
            return
    acts(server, "repetition_penalty", 5, 1)
    raise NonStrict(
        f"with repetition_penalty 5 another token than {row.best!r}",
        repr(first.name),
        note="repetition_penalty over the output only",
        at=first.at,
    )


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_texts_are_those_of_the_reference(server: Server) -> None:
    """At temperature 0 each token is the one with the largest logit after those of tokens seen were
    divided by the penalty, or multiplied if they are not above 0.
    """
    for value in 1.3, 5, 0.5, 0.01:
        told([{"repetition_penalty": value}], server)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def prompt_and_output_are_read(server: Server) -> None:
    """The tokens that count are those of the prompt and those of the output."""
    told(GRID, server, "repetition_penalty over the output only")
    told(GRID, server, "repetition_penalty over the prompt only")


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def negative_logits_are_multiplied(server: Server) -> None:
    """A logit below 0 is multiplied, so that its token becomes less likely too."""
    told([{"repetition_penalty": 5}], server, "repetition_penalty divides negative logits too")


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def how_often_does_not_matter(server: Server) -> None:
    """A token that was seen twice is penalised as one that was seen once."""
    told(GRID, server, "repetition_penalty once for each occurrence")


def told(grid: Sequence[Mapping[str, Any]], server: Server, *apart: str) -> None:
    """A greedy completion with parameters, after a prompt, that tell dialects apart."""
    prompt, params = telling_path(server.truth, LENGTH, grid, apart)
    path(server, prompt, LENGTH, **params)
