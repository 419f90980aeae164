"""min_p: the tokens at least this likely, relative to the likeliest."""

import itertools
from collections.abc import Iterator
from typing import Any

from conformance.assertions.basic import NO_NUMBERS, accepted, refused
from conformance.assertions.next_token import (
    GAP,
    as_often,
    default_is,
    first_row,
    only_among,
)
from conformance.harness.capabilities import LOGPROBS
from conformance.harness.registry import consistency, protocol, truth
from conformance.http.client import Server
from conformance.oracle.sampling import first_token, telling
from conformance.verdicts import Evidence, Level
from reference.logits import Logits, probabilities, temperature


@protocol(Level.MUST, Evidence.EXACT)
def out_of_range_is_refused(server: Server) -> None:
    """A value above 1 or below 0 is a 422 that names the field."""
    refused(server, "min_p", [1.1, -0.1, 1e9])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_number_is_refused(server: Server) -> None:
    """A string, a list or an object is a 422 that names the field."""
    refused(server, "min_p", NO_NUMBERS)


@protocol(Level.MUST, Evidence.EXACT)
def the_ends_of_the_range_are_accepted(server: Server) -> None:
    """0 and 1 are values like any other."""
    accepted(server, "min_p", [0, 1, 0.0, 1.0])


@consistency(Level.MUST, Evidence.METAMORPHIC)
def default_is_zero(server: Server) -> None:
    """Without the field nothing is dropped: the draws are those with 0."""
    default_is(server, "min_p", 0, 2)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def one_keeps_the_likeliest(server: Server) -> None:
    """With 1 the likeliest token is drawn, or one as likely, at any temperature."""
    row = first_row(server)
    best = row.values[row.best]
    kept = [name for name, value in row.values.items() if value > best - GAP]
    only_among(server, row, kept, "min_p 1", temperature=2, min_p=1)


@consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_from_what_is_kept(server: Server) -> None:
    """At temperature 1 the tokens drawn are those whose reported probability is at least min_p
    times the highest, and as often as they say.
    """
    row = first_row(server)
    kept, _ = row.nucleus()
    p = row.probabilities
    beyond = row.names[len(kept)]
    share = (p[kept[-1]] + p[beyond]) / 2 / p[row.best]
    expected = {name: p[name] for name in kept}
    as_often(server, row, expected, f"min_p {share:.4f}", temperature=1, min_p=share)


def shares(scale: float, **others: Any) -> Any:
    """Between two tokens, at a temperature."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        p = sorted(probabilities(temperature(logits, scale)), reverse=True)
        for rank in range(1, 8):
            share = float(p[rank - 1] + p[rank]) / 2 / float(p[0])
            yield {"temperature": scale, "min_p": share, **others}

    return grid


@truth(Level.MUST, Evidence.STATISTICAL)
def is_relative_to_the_likeliest(server: Server) -> None:
    """The threshold is a share of the highest probability, not a probability."""
    prompt, params = telling(server.truth, shares(1), ["min_p of the probability itself"])
    first_token(server, prompt, params)


@truth(Level.MUST, Evidence.STATISTICAL)
def comes_after_temperature(server: Server) -> None:
    """The threshold is that of the distribution at the temperature of the request."""
    for scale in 0.5, 2:
        prompt, params = telling(server.truth, shares(scale), ["temperature after truncation"])
        first_token(server, prompt, params)


@truth(Level.MUST, Evidence.STATISTICAL)
def a_token_at_the_threshold_stays(server: Server) -> None:
    """Tokens as likely as the likeliest are exactly at the threshold of 1, and are kept."""
    grid = [{"temperature": 1, "min_p": 1}]
    prompt, params = telling(server.truth, lambda logits: grid, ["min_p by >: ties are cut"])
    first_token(server, prompt, params)


@truth(Level.MUST, Evidence.STATISTICAL)
def comes_before_top_p(server: Server) -> None:
    """The nucleus is one of the tokens that min_p has left, whose probabilities are made to add up
    to 1.
    """

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        for params, mass in itertools.product(shares(1)(logits), (0.5, 0.6, 0.7, 0.8, 0.9)):
            yield params | {"top_p": mass}

    prompt, params = telling(server.truth, grid, ["min_p last"])
    first_token(server, prompt, params)
