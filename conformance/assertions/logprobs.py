"""Reported log-probabilities, compared with those of another request or of the reference."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from conformance.assertions.basic import assert_that
from conformance.assertions.next_token import (
    MAX_LOGPROBS,
    NextTokenDistribution,
    next_token_distribution,
)
from conformance.harness.capabilities import unique_token_names
from conformance.http.client import Server
from conformance.http.exchange import Exchange
from conformance.http.oracle import Oracle
from conformance.http.response import Choice, Logprobs
from conformance.oracle.greedy_paths import penalized_logits
from conformance.verdicts import Failed, NonStrict, Unsupported
from reference.logits import Logits, temperature
from reference.logprobs import log_softmax
from reference.request import TokenLogprobs

REPEAT_TOLERANCE = 1e-2  # of a log-probability, between two responses to one request
MIN_LOGPROB = -9999.0  # reported for any lower value

Values = Mapping[str, float]


def differences(first: Values, second: Values) -> dict[str, float]:
    """Return second − first of the tokens that both report."""
    return {name: second[name] - value for name, value in first.items() if name in second}


def nearly_equal(first: Values, second: Values) -> bool:
    """Return whether two lists have the same top tokens with the same values.

    A token that ties with the last one of a list may be missing in the other.
    """
    top = sorted(first.values(), reverse=True)[:MAX_LOGPROBS]
    for name, value in first.items():
        difference = abs(second.get(name, MIN_LOGPROB) - value)
        if value > top[-1] + REPEAT_TOLERANCE and difference > REPEAT_TOLERANCE:
            return False
    return True


def spread(values: Collection[float]) -> float:
    return max(values) - min(values) if values else 0.0


def assert_same_logprobs(
    expected: NextTokenDistribution,
    actual: NextTokenDistribution,
    what: str,
    known: Mapping[str, bool],
) -> None:
    """Require nearly equal log-probabilities. known: whether each dialect explains a difference."""
    if nearly_equal(expected.values, actual.values):
        return
    values, seen = format_values(expected.values), format_values(actual.values)
    raise_mismatch(known, f"{values} with {what}", seen, actual.at)


def raise_mismatch(known: Mapping[str, bool], expected: str, seen: str, at: Exchange) -> None:
    """Raise NonStrict if a known dialect explains a mismatch, else Failed."""
    for name, explains in known.items():
        if explains:
            raise NonStrict(expected, seen, note=f"log-probabilities {name}", at=at)
    raise Failed(expected, seen, at=at)


def format_values(values: Values) -> str:
    """Return the first five items, on one line."""
    return ", ".join(f"{name!r} {value:.4f}" for name, value in list(values.items())[:5])


def is_scaled(base: NextTokenDistribution, other: NextTokenDistribution, scale: float) -> bool:
    """Return whether `other` is `base`, which is at temperature 1, at temperature `scale`."""
    scaled = {n: value / scale for n, value in base.values.items()}
    shifts = differences(scaled, other.values)
    return len(shifts) > 1 and spread(shifts.values()) <= REPEAT_TOLERANCE


def is_renormalized(base: NextTokenDistribution, other: NextTokenDistribution) -> bool:
    """Return whether `other` is `base` restricted to some tokens that share the whole mass."""
    kept = {n: v for n, v in other.values.items() if v > MIN_LOGPROB}
    mass = math.fsum(math.exp(v) for v in kept.values())
    shifts = differences(base.values, kept).values()
    uniform = spread(shifts) <= REPEAT_TOLERANCE and min(shifts, default=0) > REPEAT_TOLERANCE
    return abs(mass - 1) <= REPEAT_TOLERANCE and uniform


def only_these_shifted(first: Values, second: Values, names: Collection[str]) -> bool:
    """Return whether some of `names` moved relative to all other tokens, which kept their gaps."""
    shifts = differences(first, second)
    rest = [v for n, v in shifts.items() if n not in names]
    relative = [abs(v - rest[0]) for n, v in shifts.items() if rest and n in names]
    stable = len(rest) > 1 and spread(rest) <= REPEAT_TOLERANCE
    return stable and any(v > REPEAT_TOLERANCE for v in relative)


def assert_top_logprobs(choice: Choice, expected_top: set[str], choices: list[Choice]) -> None:
    """Require that top_logprobs lists the top tokens and the sampled one.

    choices: samples of the same distribution, which show the rule that the server follows instead.
    """
    entries = set(choice.logprobs.top[0] or {})
    expected = expected_top | {choice.logprobs.tokens[0]}
    if entries == expected:
        return
    tops = [(set(c.logprobs.top[0] or {}), c.logprobs.tokens[0]) for c in choices]
    known = {
        "the sampled token is left out if it is not likely": all(
            top == expected_top for top, _ in tops
        ),
        "always N entries: the sampled token replaces another": all(
            name in top and len(top) == len(expected_top) for top, name in tops
        ),
    }
    for note, explains in known.items():
        if explains:
            raise NonStrict(f"{sorted(expected)}", f"{sorted(entries)}", note=note, at=choice.at)
    assert_that(False, f"{sorted(expected)} in top_logprobs", sorted(entries), choice.at)


def assert_unpenalized_logprobs(plain: Choice, penalized: Choice, what: str) -> bool:
    """Require equal logprobs with and without a penalty, while the earlier tokens are the same.

    Return whether the comparison is significant: it includes a penalized token, or the penalty
    changed a token.
    """
    a, b = plain.logprobs, penalized.logprobs
    significant = False
    for i in range(1, min(len(a.tokens), len(b.tokens))):
        if a.tokens[:i] != b.tokens[:i]:
            return True
        first, second, before = a.top[i] or {}, b.top[i] or {}, set(a.tokens[:i])
        significant = significant or bool(before & first.keys())
        if not nearly_equal(first, second):
            known = {"after penalties": only_these_shifted(first, second, before)}
            expected = f"{format_values(first)} with {what}"
            raise_mismatch(known, expected, format_values(second), penalized.at)
    return significant


def distributions_under(
    server: Server, base: NextTokenDistribution, settings: Iterable[dict[str, Any]]
) -> list[tuple[str, NextTokenDistribution]]:
    """Return the distribution under each setting that the server accepts, after the same prompt.

    Raises Unsupported if it accepts none.
    """
    distributions: list[tuple[str, NextTokenDistribution]] = []
    refusal: Unsupported | None = None
    for fields in settings:
        try:
            distribution = next_token_distribution(server, base.prompt, **fields)
        except Unsupported as outcome:
            refusal = outcome
        else:
            distributions.append((f"{fields}", distribution))
    if refusal is not None and not distributions:
        raise refusal
    return distributions


def assert_reference_logprobs(server: Server, count: int, **fields: Any) -> None:
    """Compare the logprobs of six tokens with those of the reference."""
    oracle, params = server.oracle, {k: v for k, v in fields.items() if k not in ("prompt", "seed")}
    body = {"max_tokens": 6, "logprobs": count, **unique_token_names(server)}
    choice = server.complete(**body, **fields).choice
    steps = oracle.steps(fields["prompt"], params, oracle.token_ids(choice, fields["prompt"]))
    ids = [step.token for step in steps]

    def mismatch_of(expected: Sequence[Logits]) -> tuple[str, str] | None:
        return first_mismatch(oracle, choice.logprobs, ids, expected, count)

    mismatch = mismatch_of([log_softmax(step.logits) for step in steps])
    if mismatch is None:
        return
    scale = params.get("temperature", 1.0)
    scaled = [log_softmax(temperature(s.logits, scale)) for s in steps] if scale else []
    penalized = [log_softmax(penalized_logits(s.logits, s.history)) for s in steps]
    known = {
        "after temperature": bool(scaled) and mismatch_of(scaled) is None,
        "after penalties": mismatch_of(penalized) is None,
    }
    raise_mismatch(known, *mismatch, choice.at)


def assert_reference_prompt_logprobs(server: Server, count: int, prompt: str) -> None:
    """Compare the logprobs of an echoed prompt with those of the reference."""
    oracle = server.oracle
    fields = {"max_tokens": 1, "logprobs": count, "echo": True, **unique_token_names(server)}
    completion = server.complete(prompt=prompt, **fields)
    columns, ids = completion.choice.logprobs, oracle.ids(prompt)
    for name, token in zip(columns.tokens, ids, strict=False):
        expected_name = f"{name!r} as the string of token {token}"
        assert_that(token in oracle.ids_named(name), expected_name, columns.tokens, completion.at)
    inside = slice(1, len(ids))  # the first token has no log-probability
    reported = Logprobs(
        columns.tokens[inside],
        columns.values[inside],
        columns.top[inside],
        columns.offsets[inside],
    )
    entries = oracle.prompt_logprobs(prompt, oracle.model.vocab_size)
    expected = [dense_logprobs(entry) for entry in entries if entry]
    if mismatch := first_mismatch(oracle, reported, ids[1:], expected, count):
        raise Failed(*mismatch, at=completion.at)


def dense_logprobs(entry: TokenLogprobs) -> Logits:
    """Return the log-probabilities (V,) of an entry that lists all tokens."""
    values = dict(entry.top)
    return np.array([values[token] for token in range(len(values))], np.float32)


def first_mismatch(
    oracle: Oracle,
    reported: Logprobs,
    ids: Sequence[int],
    expected: Sequence[Logits],
    count: int,
) -> tuple[str, str] | None:
    """Return the expected and the actual value of the first wrong entry, None if there is none.

    ids: the token of each entry. expected: (V,) log-probabilities of each entry. Values may differ
    by the tolerance, so the rank of a listed token may be too low by twice that. A string of
    several tokens denotes any of them.
    """
    for i, (logprobs, token) in enumerate(zip(expected, ids, strict=False)):
        name = reported.tokens[i]
        values = {**(reported.top[i] or {}), name: reported.values[i]}
        threshold = np.sort(logprobs)[-count] - 2 * oracle.tolerance
        for listed, value in values.items():
            tokens = [token] if listed == name else oracle.ids_named(listed)
            exact = [max(float(logprobs[t]), MIN_LOGPROB) for t in tokens]
            near = [x for x in exact if value is not None and oracle.is_near(value, x)]
            if not exact:
                raise Unsupported(f"{listed!r} is not the string of a token of the checkpoint")
            if not near:
                numbers = " or ".join(f"{x:.4f}" for x in exact)
                return f"{numbers} for {listed!r} in entry {i + 1}", f"{value}"
            if listed != name and max(near) < threshold:
                return f"one of the {count} most likely tokens in entry {i + 1}", repr(listed)
    return None
