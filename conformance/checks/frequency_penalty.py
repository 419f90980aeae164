"""frequency_penalty: subtracted from the logits of output tokens, once per occurrence."""

from conformance.assertions.greedy_penalties import assert_prompt_not_counted, assert_subtracts
from conformance.assertions.output_penalties import (
    VALUES,
    assert_greedy_matches_reference,
    assert_prompt_not_penalized,
)
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level

checks = CheckGroup("frequency_penalty")


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def subtracted_per_occurrence(server: Server) -> None:
    """At temperature 0 each token is the argmax after the penalty is subtracted from the reported
    log-probability of each token once per occurrence in the output so far.
    """
    assert_subtracts(server, "frequency_penalty", lambda penalty, count: penalty * count, VALUES)


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def prompt_not_counted(server: Server) -> None:
    """The first token is the argmax of the reported log-probabilities: tokens of the prompt are not
    penalized.
    """
    assert_prompt_not_counted(server, "frequency_penalty")


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_matches_reference(server: Server) -> None:
    """At temperature 0 each token is the one with the largest logit after the penalty."""
    assert_greedy_matches_reference(server, "frequency_penalty")


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def output_only(server: Server) -> None:
    """At temperature 0 a token of the prompt is penalized only once it is in the output."""
    assert_prompt_not_penalized(server, "frequency_penalty")
