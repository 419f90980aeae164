"""top_k: the k likeliest tokens, and ties."""

import itertools
from collections.abc import Iterator
from typing import Any

from conformance.assertions.basic import NO_NUMBERS, accepted, refused, same
from conformance.assertions.next_token import (
    GAP,
    as_often,
    default_is,
    first_row,
    only_among,
)
from conformance.harness.capabilities import LOGPROBS, SEEDS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.oracle.sampling import PROMPTS, first_token, neutral, telling
from conformance.verdicts import Evidence, Inconclusive, Level
from reference.logits import Logits

HUGE = 10**9, 2**40


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value below 0 is a 422 that names the field."""
    refused(server, "top_k", [-1, -(10**9)])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_integer_is_refused(server: Server) -> None:
    """A fraction, a string, a list or an object is a 422 that names the field."""
    refused(server, "top_k", [1.5, *NO_NUMBERS])


@protocol(Level.MUST, Evidence.EXACT)
def any_count_is_accepted(server: Server) -> None:
    """0 is a value like any other, and so is one far beyond the vocabulary."""
    accepted(server, "top_k", [0, 1, *HUGE])


@consistency(Level.MUST, Evidence.METAMORPHIC)
def default_is_zero(server: Server) -> None:
    """Without the field nothing is dropped: the draws are those with 0."""
    default_is(server, "top_k", 0, 2)


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def beyond_the_vocabulary_is_off(server: Server) -> None:
    """With a value far beyond the vocabulary the draws are those with 0."""
    for value, prompt in itertools.product(HUGE, PROMPTS[:3]):
        seed = server.rng.getrandbits(31)
        asked = neutral(server) | {
            "prompt": prompt,
            "temperature": 2,
            "max_tokens": 24,
            "seed": seed,
        }
        off, other = (server.ask(**asked | {"top_k": k}) for k in (0, value))
        same(off.choices, other.choices, f"with top_k {value} the text of top_k 0")


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def one_keeps_the_likeliest(server: Server) -> None:
    """With 1 the likeliest token is drawn, or one as likely, at any temperature."""
    row = first_row(server)
    best = row.values[row.best]
    kept = [name for name, value in row.values.items() if value > best - GAP]
    only_among(server, row, kept, "top_k 1", temperature=2, top_k=1)


@consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_from_the_likeliest(server: Server) -> None:
    """At temperature 1 the tokens drawn are the k likeliest, and as often as their reported
    probabilities say.
    """
    row = first_row(server)
    k = next((k for k in (3, 4, 5, 2) if row.clear(k - 1)), None)
    if k is None:
        raise Inconclusive("the likeliest tokens are too close to each other")
    expected = {name: row.probabilities[name] for name in row.names[:k]}
    as_often(server, row, expected, f"top_k {k}", temperature=1, top_k=k)


def counts(**others: Any) -> Any:
    """A few."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        for k in range(1, 9):
            yield {"temperature": 1, "top_k": k, **others}

    return grid


@truth(Level.MUST, Evidence.STATISTICAL)
def ties_at_the_boundary_stay(server: Server) -> None:
    """Tokens as likely as the k-th likeliest are kept with it."""
    prompt, params = telling(server.truth, counts(), ["top_k by rank: ties are cut"])
    first_token(server, prompt, params)


@truth(Level.MUST, Evidence.STATISTICAL)
def comes_before_top_p(server: Server) -> None:
    """The nucleus is one of the tokens that top_k has left, whose probabilities are made to add up
    to 1.
    """

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        for mass in 0.5, 0.6, 0.7, 0.8, 0.9:
            yield from counts(top_p=mass)(logits)

    apart = ["top_p before top_k", "top_p of the whole distribution"]
    prompt, params = telling(server.truth, grid, apart)
    first_token(server, prompt, params)
