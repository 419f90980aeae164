"""top_k: keeps the k tokens with the largest logits, and ties."""

import itertools
from collections.abc import Iterator
from typing import Any

from conformance.assertions.basic import assert_accepted, assert_same_choices
from conformance.assertions.next_token import (
    TIE_GAP,
    assert_frequencies,
    assert_support,
    uncertain_distribution,
)
from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS, SEEDS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.oracle.judging import assert_first_token_distribution
from conformance.oracle.prompt_search import discriminating_prompt
from conformance.oracle.sampling import (
    neutral_params,
)
from conformance.verdicts import Evidence, Inconclusive, Level
from reference.logits import Logits

checks = CheckGroup("top_k")

ABOVE_ANY_VOCABULARY = 10**9, 2**40


@checks.protocol(Level.MUST, Evidence.EXACT)
def no_upper_limit(server: Server) -> None:
    """A value far above the size of the vocabulary is accepted."""
    assert_accepted(server, "top_k", [1, *ABOVE_ANY_VOCABULARY])


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def above_vocabulary_off(server: Server) -> None:
    """With a value far above the size of the vocabulary the draws are those with 0."""
    for value, prompt in itertools.product(ABOVE_ANY_VOCABULARY, PROMPTS[:3]):
        seed = server.rng.getrandbits(31)
        sampled = {"prompt": prompt, "temperature": 2, "max_tokens": 24, "seed": seed}
        fields = neutral_params(server) | sampled
        off, large = (server.complete(**fields | {"top_k": k}) for k in (0, value))
        assert_same_choices(off.choices, large.choices, f"with top_k {value} the text of top_k 0")


@checks.consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def one_keeps_argmax(server: Server) -> None:
    """With 1 only the most probable token is drawn, or one of equal probability, at any
    temperature.
    """
    distribution = uncertain_distribution(server)
    best = distribution.values[distribution.best]
    kept = [name for name, value in distribution.values.items() if value > best - TIE_GAP]
    assert_support(server, distribution, kept, "top_k 1", temperature=2, top_k=1)


@checks.consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_from_top_k(server: Server) -> None:
    """At temperature 1 the tokens drawn are the k most probable ones, with the frequencies that
    their reported probabilities give.
    """
    distribution = uncertain_distribution(server)
    k = next((k for k in (3, 4, 5, 2) if distribution.is_separated(k - 1)), None)
    if k is None:
        raise Inconclusive("the most probable tokens nearly tie")
    expected = {name: distribution.probabilities[name] for name in distribution.names[:k]}
    assert_frequencies(server, distribution, expected, f"top_k {k}", temperature=1, top_k=k)


def top_k_grid(**others: Any) -> Any:
    """Return a grid of small values."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        for k in range(1, 9):
            yield {"temperature": 1, "top_k": k, **others}

    return grid


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def boundary_ties_kept(server: Server) -> None:
    """Tokens whose logit equals the k-th largest are all kept."""
    prompt, params = discriminating_prompt(server, top_k_grid(), ["top_k by rank: ties are cut"])
    assert_first_token_distribution(server, prompt, params)


@checks.truth(Level.MUST, Evidence.STATISTICAL)
def before_top_p(server: Server) -> None:
    """top_p applies to the tokens that top_k keeps, with their probabilities renormalized."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        for mass in 0.5, 0.6, 0.7, 0.8, 0.9:
            yield from top_k_grid(top_p=mass)(logits)

    dialect_names = ["top_p before top_k", "top_p of the whole distribution"]
    prompt, params = discriminating_prompt(server, grid, dialect_names)
    assert_first_token_distribution(server, prompt, params)
