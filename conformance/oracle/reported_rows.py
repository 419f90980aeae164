"""Decoding steps with the log-probabilities that the server reports, where it computes in 16 bits.

Its logits then differ from the reference's by more than a sampling step tolerates: a token near a
threshold is kept by one and dropped by the other. A server samples from its own logits, so these
are put in place of the reference's, once `reports_own_rows` has checked them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS, has, unique_token_names
from conformance.harness.once import once_per_run
from conformance.http.client import Server
from conformance.http.oracle import DecodeStep, Oracle
from conformance.http.response import Choice
from conformance.oracle.reference_oracle import TOLERANCE
from conformance.oracle.sampling import (
    accepted_fields,
    fresh_seed,
    is_accepted,
    neutral_params,
)
from conformance.verdicts import Outcome, Unsupported
from reference.logits import Logits
from reference.logprobs import log_softmax

ENTRIES = (20, 5)  # the limit of a server that follows the contract, and of OpenAI's API
ROUNDING = 2**-8  # of a reported value, relative: a server may round it to bfloat16
NUM_SHIFTS = 17
MIN_MASS = 1e-6  # of the tokens that are not reported
UNUSUAL_PARAMS = {
    "temperature": 0.6,
    "top_k": 40,
    "frequency_penalty": -2,
    "presence_penalty": -2,
    "repetition_penalty": 1.5,
}


def first_step(
    server: Server, prompt: str | Sequence[int], params: Mapping[str, Any]
) -> DecodeStep:
    """Return the step after a prompt as the server computes it: see `Oracle.first_step`."""
    step = server.oracle.first_step(prompt, dict(params))
    if not reports_own_rows(server):
        return step
    return with_row(step, first_row(server, prompt))


@once_per_run
def first_row(server: Server, prompt: str | Sequence[int]) -> dict[int, float]:
    """Return the log-probabilities that the server reports after a prompt, by token id."""
    fields = row_fields(server) | neutral_params(server) | {"temperature": 1, "max_tokens": 1}
    choice = server.complete(prompt=prompt, **fields).choice
    step = server.oracle.first_step(prompt, {})
    return reported_row(server.oracle, step, choice, 0)


def output_steps(
    server: Server, prompt: str | Sequence[int], params: dict[str, Any], choice: Choice
) -> list[DecodeStep]:
    """Return the steps of a choice as the server computes them: see `Oracle.steps`.

    The request has the fields of `row_fields`.
    """
    oracle = server.oracle
    steps = oracle.steps(prompt, params, oracle.token_ids(choice, prompt))
    if not reports_own_rows(server):
        return steps
    return [with_row(step, reported_row(oracle, step, choice, i)) for i, step in enumerate(steps)]


def row_fields(server: Server) -> dict[str, Any]:
    """Return the request fields with which tokens are identified, and rows reported if needed."""
    count = max_entries(server) if server.oracle.tolerance > TOLERANCE else 1
    return {"logprobs": count, **unique_token_names(server)}


def max_entries(server: Server) -> int:
    """Return how many log-probabilities to request: as many as common limits allow."""
    return next((n for n in ENTRIES if is_accepted(server, "logprobs", n)), 1)


@once_per_run
def reports_own_rows(server: Server) -> bool:
    """Return whether a server's rows replace those of the reference.

    They do where the tolerance is above that of float32, if they are those of the model: within the
    tolerance of the reference, with any temperature, truncation and penalties.
    """
    oracle = server.oracle
    if oracle.tolerance <= TOLERANCE or not has(server, LOGPROBS):
        return False
    params = accepted_fields(server, UNUSUAL_PARAMS)
    for prompt in PROMPTS[:3]:
        fields = {"prompt": prompt, "max_tokens": 8, **row_fields(server), **fresh_seed(server)}
        try:
            choice = server.complete(**fields, **params).choice
            steps = oracle.steps(prompt, {}, oracle.token_ids(choice, prompt))
            if any(contradicts(oracle, step, choice, i) for i, step in enumerate(steps)):
                return False
        except Outcome:
            return False
    return True


def contradicts(oracle: Oracle, step: DecodeStep, choice: Choice, i: int) -> bool:
    """Return whether a value of the i-th entry is not near that of any token with its string."""
    exact = log_softmax(step.logits)
    return any(
        not any(oracle.is_near(value, float(exact[token])) for token in ids)
        for name, value in (choice.logprobs.top[i] or {}).items()
        if (ids := oracle.ids_named(name))
    )


def reported_row(oracle: Oracle, step: DecodeStep, choice: Choice, i: int) -> dict[int, float]:
    """Return the log-probabilities of the i-th entry, by token id.

    Tokens whose string is ambiguous are left out, and values that are not near the reference's.
    """
    columns, exact = choice.logprobs, log_softmax(step.logits)
    row: dict[int, float] = {}
    for name, value in {**(columns.top[i] or {}), columns.tokens[i]: columns.values[i]}.items():
        try:
            token = oracle.token_id(name, value, exact)
        except Unsupported:
            continue
        if value is not None and oracle.is_near(value, float(exact[token])):
            row[token] = value
    return row


def with_row(step: DecodeStep, row: Mapping[int, float]) -> DecodeStep:
    """Replace the logits of the reported tokens, and scale the mass of the others to the rest.

    A log-probability is a logit up to a number that all tokens share: the reference's is used.
    """
    if not row:
        return step
    ids, values = np.array(list(row), np.int64), np.array(list(row.values()), np.float32)
    exact = log_softmax(step.logits)
    normalizer = float(step.logits[0] - exact[0])
    others = np.ones(len(exact), np.bool_)
    others[ids] = False
    mass = max(1 - math.fsum(map(math.exp, row.values())), MIN_MASS)
    shift = math.log(mass / max(float(np.exp(exact[others]).sum()), MIN_MASS))
    error = np.full(len(exact), step.error, np.float32)
    bound = float(error.max())
    logits = np.where(others, step.logits + np.float32(np.clip(shift, -bound, bound)), step.logits)
    logits[ids] = values + np.float32(normalizer)
    error[ids] = np.minimum(error[ids], TOLERANCE + ROUNDING * np.abs(values))
    return replace(step, logits=logits.astype(np.float32), error=error, shift=bound)


def shifted(step: DecodeStep) -> Iterator[Logits]:
    """Yield the logits with each of several errors that all of them have in common, first none."""
    yield step.logits
    if step.shift and step.history.params.repetition_penalty != 1:
        for shift in np.linspace(-step.shift, step.shift, NUM_SHIFTS, dtype=np.float32):
            yield step.logits + shift
