"""presence_penalty: subtracted once from each token of the output."""

from conformance.assertions.basic import NO_NUMBERS, accepted, refused
from conformance.assertions.greedy_penalties import (
    LENGTH,
    prompt_is_not_counted,
    repeating,
    subtracts,
)
from conformance.assertions.next_token import default_penalty_is
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.oracle.greedy_paths import path, telling_path
from conformance.oracle.sampling import PROMPTS
from conformance.verdicts import Evidence, Level

VALUES = 2, 0.5, -0.5, -2


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value above 2 or below −2 is a 422 that names the field."""
    refused(server, "presence_penalty", [2.1, -2.1, 1e9])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_number_is_refused(server: Server) -> None:
    """A string, a list or an object is a 422 that names the field."""
    refused(server, "presence_penalty", NO_NUMBERS)


@protocol(Level.MUST, Evidence.EXACT)
def the_ends_of_the_range_are_accepted(server: Server) -> None:
    """−2 and 2 are values like any other, and so is 0."""
    accepted(server, "presence_penalty", [-2, 0, 2, 2.0])


@consistency(Level.MUST, Evidence.METAMORPHIC)
def default_is_zero(server: Server) -> None:
    """Without the field the text is the one with 0."""
    default_penalty_is(server, "presence_penalty", 0)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def is_subtracted_once(server: Server) -> None:
    """At temperature 0 each token is the likeliest after the penalty is subtracted from the
    reported log-probability of each token that stands in the output so far, however often.
    """
    subtracts(server, "presence_penalty", lambda penalty, count: penalty * (count > 0), VALUES)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def the_prompt_is_not_counted(server: Server) -> None:
    """The first token is the likeliest by its own log-probabilities, whatever stands in the
    prompt.
    """
    prompt_is_not_counted(server, "presence_penalty")


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_texts_are_those_of_the_reference(server: Server) -> None:
    """At temperature 0 each token is the one with the largest logit after the penalty."""
    for value in 2, -2:
        prompt, params = telling_path(server.truth, LENGTH, [{"presence_penalty": value}])
        path(server, prompt, LENGTH, **params)


@truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def only_the_output_counts(server: Server) -> None:
    """At temperature 0 a token of the prompt is penalised only once it is chosen."""
    grid = [{"presence_penalty": 2}, {"presence_penalty": -2}]
    prompts = [*PROMPTS, *(row.prompt for row, _ in repeating(server))]
    apart = ["presence_penalty over the prompt too"]
    prompt, params = telling_path(server.truth, LENGTH, grid, apart, prompts)
    path(server, prompt, LENGTH, **params)
