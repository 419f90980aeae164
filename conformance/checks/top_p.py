"""top_p: the smallest set of likeliest tokens whose mass reaches it."""

from collections.abc import Iterator
from typing import Any

from conformance.assertions.basic import NO_NUMBERS, accepted, refused
from conformance.assertions.next_token import (
    as_often,
    as_reported,
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
    refused(server, "top_p", [1.1, -0.1, 1e9])


@protocol(Level.MUST, Evidence.EXACT)
def what_is_no_number_is_refused(server: Server) -> None:
    """A string, a list or an object is a 422 that names the field."""
    refused(server, "top_p", NO_NUMBERS)


@protocol(Level.MUST, Evidence.EXACT)
def the_ends_of_the_range_are_accepted(server: Server) -> None:
    """0 and 1 are values like any other."""
    accepted(server, "top_p", [0, 1, 0.0, 1.0])


@consistency(Level.MUST, Evidence.METAMORPHIC)
def default_is_one(server: Server) -> None:
    """Without the field nothing is dropped: the draws are those with 1."""
    default_is(server, "top_p", 1, 2)


@consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def one_is_off(server: Server) -> None:
    """With 1 the likeliest tokens are drawn as often as is reported, and all others together as
    often as that leaves.
    """
    as_reported(server, first_row(server), "top_p 1", top_p=1)


@consistency(Level.MUST, Evidence.EXACT, LOGPROBS)
def zero_keeps_the_likeliest(server: Server) -> None:
    """With 0 the likeliest token is drawn, at any temperature."""
    row = first_row(server)
    only_among(server, row, row.likeliest, "top_p 0", temperature=2, top_p=0)


@consistency(Level.MUST, Evidence.STATISTICAL, LOGPROBS)
def draws_from_the_nucleus(server: Server) -> None:
    """At temperature 1 the tokens drawn are those of the nucleus that the reported probabilities
    make, and as often as they say.
    """
    row = first_row(server)
    kept, mass = row.nucleus()
    expected = {name: row.probabilities[name] for name in kept}
    as_often(server, row, expected, f"top_p {mass:.4f}", temperature=1, top_p=mass)


def masses(scale: float) -> Any:
    """Between two cumulative sums, at a temperature."""

    def grid(logits: Logits) -> Iterator[dict[str, Any]]:
        p = sorted(probabilities(temperature(logits, scale)), reverse=True)
        for rank in range(1, 6):
            mass = float(sum(p[:rank]) + p[rank] / 2)
            if mass < 1:
                yield {"temperature": scale, "top_p": mass}

    return grid


@truth(Level.MUST, Evidence.STATISTICAL)
def keeps_the_crossing_token(server: Server) -> None:
    """The level that crosses top_p is kept."""
    prompt, params = telling(server.truth, masses(1), ["top_p without the crossing token"])
    first_token(server, prompt, params)


@truth(Level.MUST, Evidence.STATISTICAL)
def comes_after_temperature(server: Server) -> None:
    """The nucleus is that of the distribution at the temperature of the request."""
    for scale in 0.5, 2:
        prompt, params = telling(server.truth, masses(scale), ["temperature after truncation"])
        first_token(server, prompt, params)


@truth(Level.MUST, Evidence.STATISTICAL)
def ties_at_the_boundary_stay(server: Server) -> None:
    """Tokens that are as likely as the one that crosses top_p are kept with it."""
    prompt, params = telling(server.truth, masses(1), ["top_p by rank: ties are cut"])
    first_token(server, prompt, params)
