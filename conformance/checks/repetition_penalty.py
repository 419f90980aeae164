"""repetition_penalty: divides or multiplies the logits of tokens in the prompt or the output."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.assertions.basic import assert_that
from conformance.assertions.greedy_penalties import (
    MAX_LEAD,
    MAX_TOKENS,
    GreedyStep,
    assert_has_effect,
    greedy_choice,
    greedy_steps,
    logit_lead,
    maybe_in_prompt,
    repeated_prompts,
)
from conformance.assertions.next_token import TIE_GAP
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.oracle.greedy_paths import assert_greedy_path, discriminating_greedy_prompt
from conformance.verdicts import Evidence, Inconclusive, Level, NonStrict

checks = CheckGroup("repetition_penalty")

GRID = [{"repetition_penalty": value} for value in (0.5, 1.3, 5)]


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def off_at_one(server: Server) -> None:
    """With 1 each token of a greedy text is the argmax of the reported log-probabilities."""
    for prompt in PROMPTS[:5]:
        for step in greedy_steps(greedy_choice(server, prompt, repetition_penalty=1)):
            assert_that(step.is_argmax, "the most probable token", step.name, step.at)


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def new_tokens_unchanged(server: Server) -> None:
    """Above 1 no chosen token has a lower reported log-probability than a token that is in neither
    the prompt nor the output; below 1 such a token is chosen only if it is the argmax.
    """
    for value in 5, 0.5:
        has_effect = False
        for prompt in PROMPTS[:5]:
            steps = list(greedy_steps(greedy_choice(server, prompt, repetition_penalty=value)))
            for step in steps:
                minimum = min_logprob(step, prompt, value)
                expected = f"one at {minimum:.3f} or above"
                seen = f"{step.name!r} at {step.value:.3f}"
                assert_that(step.value >= minimum - TIE_GAP, expected, seen, step.at)
            has_effect = has_effect or not all(step.is_argmax for step in steps)
        if not has_effect:
            assert_has_effect(server, "repetition_penalty", value, 1)
            raise Inconclusive("the log-probabilities are those after the penalty", at=server.last)


def min_logprob(step: GreedyStep, prompt: str, value: float) -> float:
    """Return the least log-probability that the chosen token may have."""
    if value > 1:
        new = [n for n in step.values if not maybe_in_prompt(n, prompt) and not step.before.get(n)]
        return max((step.values[n] for n in new), default=step.value)
    is_new = not maybe_in_prompt(step.name, prompt) and not step.before.get(step.name)
    return max(step.values.values()) if is_new else step.value


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def prompt_counted(server: Server) -> None:
    """With 5 a token of the prompt is not chosen first if its lead over the tokens outside the
    prompt is small.
    """
    close = [
        distribution
        for distribution, prompt_names in repeated_prompts(server)
        if distribution.best in prompt_names
        and TIE_GAP < (logit_lead(distribution, prompt_names) or 0) < MAX_LEAD
    ]
    if len(close) < 2:  # one logit may be near 0, where the penalty hardly moves it
        raise Inconclusive("after the tried prompts no token of the prompt has a small lead")
    for distribution in close:
        [first] = greedy_steps(greedy_choice(server, distribution.prompt, 1, repetition_penalty=5))
        if first.name != distribution.best:
            return
    assert_has_effect(server, "repetition_penalty", 5, 1)
    raise NonStrict(
        f"with repetition_penalty 5 another token than {distribution.best!r}",
        repr(first.name),
        note="repetition_penalty over the output only",
        at=first.at,
    )


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def greedy_matches_reference(server: Server) -> None:
    """At temperature 0 each token is the one with the largest logit after the logits of tokens in
    prompt or output are divided by the penalty, or multiplied by it if they are 0 or less.
    """
    for value in 1.3, 5, 0.5, 0.01:
        assert_path(server, [{"repetition_penalty": value}])


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def prompt_and_output_counted(server: Server) -> None:
    """The penalty applies to the tokens of the prompt and to those of the output."""
    assert_path(server, GRID, "repetition_penalty over the output only")
    assert_path(server, GRID, "repetition_penalty over the prompt only")


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def negative_logits_multiplied(server: Server) -> None:
    """A negative logit is multiplied, so that its token becomes less probable, too."""
    dialect = "repetition_penalty divides negative logits too"
    assert_path(server, [{"repetition_penalty": 5}], dialect)


@checks.truth(Level.MUST, Evidence.EXACT, LOGPROBS)
def occurrences_not_counted(server: Server) -> None:
    """A token that occurs twice is penalized like one that occurs once."""
    assert_path(server, GRID, "repetition_penalty once for each occurrence")


def assert_path(server: Server, grid: Sequence[Mapping[str, Any]], *dialects: str) -> None:
    """Compare with the reference a greedy completion that differs under each dialect."""
    prompt, params = discriminating_greedy_prompt(server, MAX_TOKENS, grid, dialects)
    assert_greedy_path(server, prompt, MAX_TOKENS, **params)
