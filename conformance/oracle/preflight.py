"""Compares a server with the checkpoint of --truth before the checks: same weights, and how exact.

The tolerance of every check against the reference follows from what is measured here. It is bounded
by what 16-bit arithmetic explains, so that a wrong server cannot widen its own tolerance.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conformance.fixtures.prompts import PROMPTS
from conformance.harness.capabilities import LOGPROBS, PROMPT_LOGPROBS, has, unique_token_names
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.oracle.greedy_paths import reference_path
from conformance.oracle.reference_oracle import TOLERANCE, ReferenceOracle
from conformance.oracle.reference_text import reference_text
from conformance.oracle.reported_rows import ENTRIES, max_entries
from conformance.oracle.sampling import fresh_seed, neutral_params
from conformance.oracle.token_names import WORD_BOUNDARIES
from conformance.verdicts import Outcome
from reference.logits import Logits
from reference.logprobs import log_softmax
from reference.model import llama
from reference.output_text import TokenDisplay

NUM_PROMPTS = 8
LENGTH = 12  # tokens of each text that is compared
SAFETY = 2  # the checks compare more values than the preflight
UNIT_ROUNDOFF = 2**-8  # of bfloat16, which has 8 significant bits
NUM_PERTURBATIONS = 4
ECHOED_PROMPTS = (" ".join(PROMPTS[:4]), " ".join(PROMPTS[4:8]))


class DifferentWeights(Exception):
    """The server does not have the weights of the checkpoint. The message gives the evidence."""


@dataclass(frozen=True)
class Agreement:
    """The agreement of a server with a checkpoint.

    deviation: the largest difference of a log-probability, None if none can be compared. tolerance:
    that of the checks. limit: the largest difference that 16-bit arithmetic explains, with a safety
    factor. compared: whether any response could be read.
    """

    deviation: float | None
    tolerance: float
    limit: float
    stripped_names: bool = False
    compared: bool = True

    def __str__(self) -> str:
        if not self.compared:
            return f"weights not compared: no response can be read; tolerance {self.tolerance:.2g}"
        if self.deviation is None:
            return f"same weights by greedy texts, tolerance {self.tolerance:.2g}"
        if self.deviation > self.limit:
            return (
                f"same weights by greedy texts, but log-probabilities differ by up to "
                f"{self.deviation:.2g}; tolerance {self.tolerance:.2g}"
            )
        bits = "32-bit" if self.tolerance <= TOLERANCE else "16-bit"
        return (
            f"same weights, maximum deviation {self.deviation:.2g} ({bits} arithmetic), "
            f"tolerance {self.tolerance:.2g}"
        )


def measure_agreement(
    server: Server, oracle: ReferenceOracle, tolerance: float | None = None
) -> Agreement:
    """Compare a server with a checkpoint on a few prompts.

    tolerance: used instead of the measured one. Raises DifferentWeights.
    """
    limit = tolerance or SAFETY * sixteen_bit_error(oracle)
    stripped = strips_names(server, oracle)
    wide = ReferenceOracle(oracle.model, limit, stripped_names=stripped)
    deviations = list(row_deviations(server, wide))
    explained = [value for value in deviations if value <= limit]
    if explained and len(explained) * 2 >= len(deviations):
        measured = max(explained)
        derived = min(max(SAFETY * measured, TOLERANCE), max(limit, TOLERANCE))
        return Agreement(measured, tolerance or derived, limit, stripped)
    agreeing, compared = greedy_agreement(server, wide)
    worst = max(deviations, default=None)
    if agreeing * 2 >= compared:
        return Agreement(worst, limit, limit, stripped, compared > 0)
    seen = f"{agreeing} of {compared} greedy texts agree"
    if worst is not None:
        seen += f", log-probabilities differ by up to {worst:.3g}, and rounding to 16 bits explains"
        seen += f" {limit:.2g}"
    raise DifferentWeights(f"the server has different weights: {seen}")


def sixteen_bit_error(oracle: ReferenceOracle) -> float:
    """Return the largest error of a reported log-probability that 16-bit arithmetic explains.

    The residual stream is rounded when it is embedded and after each of the 2L blocks. One such
    rounding changes the log-probabilities by what a relative change of the embeddings by half a
    unit roundoff of bfloat16, its usual error, does; independent roundings by √(2L + 1) times that.
    The logits are rounded once more.
    """
    checkpoint, rng = oracle.model.checkpoint, np.random.default_rng(0)
    config, weights = checkpoint.config, checkpoint.weights
    moved = largest = 0.0
    for prompt in (*PROMPTS[:NUM_PROMPTS], *ECHOED_PROMPTS):
        tokens = np.array(oracle.ids(prompt))
        x = llama.embedding(weights, config, tokens)

        def forward(x_TD: Any, tokens: Any = tokens) -> Logits:
            return llama.logits(weights, llama.hidden_states(weights, config, tokens, x_TD=x_TD))

        exact = forward(x)
        largest = max(largest, float(np.abs(exact).max()))
        for _ in range(NUM_PERTURBATIONS):
            signs = rng.choice((-1, 1), x.shape).astype(x.dtype)
            changed = log_softmax(forward(x * (1 + x.dtype.type(UNIT_ROUNDOFF / 2) * signs)))
            for before, after in zip(log_softmax(exact), changed, strict=True):
                top = np.argsort(-before)[: ENTRIES[0]]
                moved = max(moved, *map(error_between, before[top], after[top]))
    return math.sqrt(2 * config.num_hidden_layers + 1) * moved + UNIT_ROUNDOFF * largest


def error_between(exact: float, value: float) -> float:
    """Return the tolerance with which `Oracle.error_of` is the difference of two
    log-probabilities.
    """
    difference = abs(float(value) - float(exact))
    if difference <= TOLERANCE:
        return difference
    others = -math.expm1(min(float(exact), 0.0))
    return max(difference, math.log1p(difference / others)) if others else math.inf


def strips_names(server: Server, oracle: ReferenceOracle) -> bool:
    """Return whether the token strings of a server lack the leading space that those of the
    checkpoint have.
    """
    display = TokenDisplay(oracle.model.tokenizer, as_ids=False)
    spaced = False
    try:
        for prompt in PROMPTS[:4]:
            fields = {"prompt": prompt, "max_tokens": 1, "logprobs": 5}
            top = server.complete(**fields).choices[0].logprobs.top[0] or {}
            if any(name.startswith(tuple(WORD_BOUNDARIES)) for name in top):
                return False
            best = np.argsort(-oracle.logits(prompt))[:5]
            spaced = spaced or any(display.name(int(token)).startswith(" ") for token in best)
    except (Outcome, LookupError):
        return False
    return spaced


def row_deviations(server: Server, oracle: ReferenceOracle) -> Iterable[float]:
    """Yield, for each of several texts, the largest difference of a log-probability.

    All parameters are off: no known deviation changes what is reported then.
    """
    names = {"logprobs": max_entries(server), **unique_token_names(server)}
    if has(server, LOGPROBS):
        off = neutral_params(server) | {"temperature": 1, "max_tokens": LENGTH}
        for prompt in PROMPTS[:NUM_PROMPTS]:
            yield from deviations_of(server, oracle, prompt, **names, **off, **fresh_seed(server))
    if has(server, PROMPT_LOGPROBS):
        for prompt in ECHOED_PROMPTS:
            yield from deviations_of(server, oracle, prompt, **names, max_tokens=1, echo=True)


def deviations_of(
    server: Server, oracle: ReferenceOracle, prompt: str, **fields: Any
) -> Iterable[float]:
    """Yield the deviation of one text, if its entries can be read."""
    try:
        choice = server.complete(prompt=prompt, **fields).choices[0]
        if fields.get("echo"):
            ids: Sequence[int] = oracle.ids(prompt)
            after = oracle.steps(ids[:1], {}, ids[1:])
            rows = [(i + 1, log_softmax(step.logits)) for i, step in enumerate(after)]
        else:
            ids = oracle.token_ids(choice, prompt)
            rows = [(i, log_softmax(s.logits)) for i, s in enumerate(oracle.steps(prompt, {}, ids))]
        values = [d for i, row in rows for d in entry_deviations(oracle, choice, i, row)]
    except (Outcome, TypeError, ValueError, LookupError):
        return
    if values:
        yield max(values)


def entry_deviations(
    oracle: ReferenceOracle, choice: Choice, i: int, row: Logits
) -> Iterable[float]:
    """Yield the differences of the values of one entry. Of several tokens with one string, the
    closest counts.
    """
    for name, value in (choice.logprobs.top[i] or {}).items():
        if ids := oracle.ids_named(name):
            yield min(error_between(row[token], value) for token in ids)


def greedy_agreement(server: Server, oracle: ReferenceOracle) -> tuple[int, int]:
    """Return the number of greedy texts that agree, and that of those compared.

    A text is compared up to the first token that is not decided within the tolerance.
    """
    agreeing = compared = 0
    for prompt in PROMPTS[:NUM_PROMPTS]:
        ids = decided_ids(oracle, prompt)
        if not ids:
            continue
        expected = reference_text(oracle, prompt, ids, "length")
        fields = {"prompt": prompt, "max_tokens": len(ids), "temperature": 0}
        try:
            seen = server.complete(**fields, **neutral_params(server)).choices[0].text
        except (Outcome, LookupError):
            continue
        compared += 1
        agreeing += seen.strip() == expected.strip()
    return agreeing, compared


def decided_ids(oracle: ReferenceOracle, prompt: str) -> list[int]:
    """Return the first tokens of the greedy text, each ahead of all others by more than errors."""
    ids: list[int] = []
    for step in reference_path(oracle, prompt, LENGTH, {}):
        second, first = np.sort(step.logits[step.history.allowed])[-2:]
        if first - second <= 2 * oracle.tolerance:
            break
        ids.append(step.token)
    return ids
