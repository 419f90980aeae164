"""top_p: keeps the smallest set of most probable tokens whose mass reaches it."""

from collections.abc import Iterator
from typing import Any

from conformance.assertions.next_token import (
    assert_frequencies,
    assert_matches_logprobs,
    assert_support,
    uncertain_distribution,
)
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.oracle.judging import assert_first_token_distribution
from conformance.oracle.prompt_search import discriminating_prompt
from conformance.verdicts import Evidence, Level
from reference.logits import Logits, probabilities, temperature

checks = CheckGroup("top_p")


@checks.consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def off_at_one(server: Server) -> None:
    """With 1 each of the most probable tokens has its reported frequency, and all others together
    have the rest.
    """
    assert_matches_logprobs(server, uncertain_distribution(server), "top_p 1", top_p=1)


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def zero_keeps_argmax(server: Server) -> None:
    """With 0 only the most probable token is drawn, at any temperature."""
    distribution = uncertain_distribution(server)
    assert_support(server, distribution, distribution.best_names, "top_p 0", temperature=2, top_p=0)


@checks.consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_from_nucleus(server: Server) -> None:
    """At temperature 1 the tokens drawn are those of the nucleus of the reported probabilities,
    with the frequencies that these give.
    """
    distribution = uncertain_distribution(server)
    kept, mass = distribution.nucleus()
    expected = {name: distribution.probabilities[name] for name in kept}
    assert_frequencies(
        server, distribution, expected, f"top_p {mass:.4f}", temperature=1, top_p=mass
    )


def top_p_grid(scale: float) -> Any:
    """Return a grid of top_p values halfway between two cumulative sums, at a temperature."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        p = sorted(probabilities(temperature(logits, scale)), reverse=True)
        for rank in range(1, 6):
            mass = float(sum(p[:rank]) + p[rank] / 2)
            if mass < 1:
                yield {"temperature": scale, "top_p": mass}

    return grid


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def crossing_token_kept(server: Server) -> None:
    """The token whose probability takes the cumulative sum across top_p is kept."""
    prompt, params = discriminating_prompt(
        server, top_p_grid(1), ["top_p without the crossing token"]
    )
    assert_first_token_distribution(server, prompt, params)


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def after_temperature(server: Server) -> None:
    """The nucleus is that of the distribution at the temperature of the request."""
    for scale in 0.5, 2:
        prompt, params = discriminating_prompt(
            server, top_p_grid(scale), ["temperature after truncation"]
        )
        assert_first_token_distribution(server, prompt, params)


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def boundary_ties_kept(server: Server) -> None:
    """Tokens whose probability equals that of the crossing token are all kept."""
    prompt, params = discriminating_prompt(server, top_p_grid(1), ["top_p by rank: ties are cut"])
    assert_first_token_distribution(server, prompt, params)
