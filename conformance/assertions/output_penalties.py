"""Assertions that frequency_penalty and presence_penalty share, with the reference's weights."""

from conformance.assertions.greedy_penalties import MAX_TOKENS, repeated_prompts
from conformance.fixtures.prompts import PROMPTS
from conformance.http.client import Server
from conformance.oracle.greedy_paths import assert_greedy_path, discriminating_greedy_prompt

VALUES = 2, 0.5, -0.5, -2


def assert_greedy_matches_reference(server: Server, name: str) -> None:
    """Compare greedy completions under a penalty of either sign with the reference's."""
    for value in 2, -2:
        prompt, params = discriminating_greedy_prompt(server, MAX_TOKENS, [{name: value}])
        assert_greedy_path(server, prompt, MAX_TOKENS, **params)


def assert_prompt_not_penalized(server: Server, name: str) -> None:
    """Compare a greedy completion where a penalty of the prompt's tokens would change it."""
    grid = [{name: 2}, {name: -2}]
    prompts = [*PROMPTS, *(distribution.prompt for distribution, _ in repeated_prompts(server))]
    prompt, params = discriminating_greedy_prompt(
        server, MAX_TOKENS, grid, [f"{name} over the prompt too"], prompts
    )
    assert_greedy_path(server, prompt, MAX_TOKENS, **params)
