"""Samples from a server: first tokens of many requests."""

from collections.abc import Mapping
from typing import Any

from conformance.harness.capabilities import Capability, has
from conformance.http.client import Server
from conformance.http.response import Choice

NUM_SAMPLES = 200
CONCURRENCY = 4  # requests in flight while samples are drawn

# Off values of the parameters for which some engines have other defaults.
NEUTRAL_PARAMS = {"top_p": 1, "min_p": 0, "top_k": 0, "repetition_penalty": 1}


def neutral_params(server: Server) -> dict[str, Any]:
    """Return those of `NEUTRAL_PARAMS` that the server accepts. Each is tried once per run."""
    return accepted_fields(server, NEUTRAL_PARAMS)


def accepted_fields(server: Server, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the server accepts. Each is tried once per run."""
    return {name: v for name, v in fields.items() if is_accepted(server, name, v)}


def is_accepted(server: Server, name: str, value: Any) -> bool:
    """Return whether a request with a value of a parameter succeeds."""

    def probe(server: Server) -> None:
        server.complete(max_tokens=1, **{name: value})

    return has(server, Capability(f"{name} {value}", probe))


def sample_choices(server: Server, count: int = NUM_SAMPLES, **fields: Any) -> list[Choice]:
    """Return completions of one token, each from a request with its own seed.

    Other parameters are off unless they are given; `...` leaves one out.
    """
    choices: list[Choice] = []
    body = {"max_tokens": 1, "temperature": 1} | neutral_params(server) | fields
    while len(choices) < count:
        batch_size = min(CONCURRENCY, count - len(choices))
        bodies = [body | fresh_seed(server) for _ in range(batch_size)]
        choices += [completion.choice for completion in server.complete_all(bodies)]
    return choices


def fresh_seed(server: Server) -> dict[str, int]:
    """Return the field of a new seed, or no field if the server does not accept seeds."""
    seed = server.rng.getrandbits(31)
    return {"seed": seed} if is_accepted(server, "seed", 1) else {}
