"""min_p: keeps the tokens at least this probable, relative to the most probable token."""

import itertools
from collections.abc import Iterator
from typing import Any

from conformance.assertions.next_token import (
    TIE_GAP,
    assert_frequencies,
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

checks = CheckGroup("min_p")


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def one_keeps_argmax(server: Server) -> None:
    """With 1 only the most probable token is drawn, or one of equal probability, at any
    temperature.
    """
    distribution = uncertain_distribution(server)
    best = distribution.values[distribution.best]
    kept = [name for name, value in distribution.values.items() if value > best - TIE_GAP]
    assert_support(server, distribution, kept, "min_p 1", temperature=2, min_p=1)


@checks.consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_from_kept_tokens(server: Server) -> None:
    """At temperature 1 the tokens drawn are those whose reported probability is at least min_p
    times the highest, with the frequencies that their probabilities give.
    """
    distribution = uncertain_distribution(server)
    kept, _ = distribution.nucleus()
    p = distribution.probabilities
    first_dropped = distribution.names[len(kept)]
    share = (p[kept[-1]] + p[first_dropped]) / 2 / p[distribution.best]
    expected = {name: p[name] for name in kept}
    assert_frequencies(
        server, distribution, expected, f"min_p {share:.4f}", temperature=1, min_p=share
    )


def min_p_grid(scale: float, **others: Any) -> Any:
    """Return a grid of min_p values halfway between the probabilities of two tokens."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        p = sorted(probabilities(temperature(logits, scale)), reverse=True)
        for rank in range(1, 8):
            share = float(p[rank - 1] + p[rank]) / 2 / float(p[0])
            yield {"temperature": scale, "min_p": share, **others}

    return grid


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def relative_to_maximum(server: Server) -> None:
    """The threshold is a fraction of the highest probability, not a probability."""
    prompt, params = discriminating_prompt(
        server, min_p_grid(1), ["min_p of the probability itself"]
    )
    assert_first_token_distribution(server, prompt, params)


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def after_temperature(server: Server) -> None:
    """The threshold applies to the distribution at the temperature of the request."""
    for scale in 0.5, 2:
        prompt, params = discriminating_prompt(
            server, min_p_grid(scale), ["temperature after truncation"]
        )
        assert_first_token_distribution(server, prompt, params)


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def threshold_ties_kept(server: Server) -> None:
    """A token exactly at the threshold is kept: with min_p 1 all tokens that tie for the highest
    probability.
    """
    grid = [{"temperature": 1, "min_p": 1}]
    prompt, params = discriminating_prompt(
        server, lambda logits: grid, ["min_p by >: ties are cut"]
    )
    assert_first_token_distribution(server, prompt, params)


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def before_top_p(server: Server) -> None:
    """top_p applies to the tokens that min_p keeps, with their probabilities renormalized."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        for params, mass in itertools.product(min_p_grid(1)(logits), (0.5, 0.6, 0.7, 0.8, 0.9)):
            yield params | {"top_p": mass}

    prompt, params = discriminating_prompt(server, grid, ["min_p last"])
    assert_first_token_distribution(server, prompt, params)
