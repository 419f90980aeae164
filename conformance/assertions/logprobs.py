"""Log-probabilities that a server reports, held against others."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from conformance.assertions.basic import equal, require
from conformance.assertions.next_token import WIDE, Row, naming, row_of
from conformance.http.client import Server
from conformance.http.exchange import Exchange
from conformance.http.response import Choice, Rows
from conformance.oracle.greedy_paths import penalised
from conformance.oracle.truth import Truth
from conformance.verdicts import Failed, NonStrict, Unsupported
from reference.logits import Logits, temperature
from reference.logprobs import log_softmax
from reference.request import TokenLogprobs

CLOSE = 1e-2  # of a log-probability: what two answers to one question may differ by
LOWEST = -9999.0  # what is written for less than everything

Values = Mapping[str, float]


def shifts(one: Values, other: Values) -> dict[str, float]:
    """By how much the values of one are others in the other, as far as both know them."""
    return {name: other[name] - value for name, value in one.items() if name in other}


def alike(one: Values, other: Values) -> bool:
    """Whether the likeliest are the same, with the same values. What is as likely as the last of
    them may be left out for another.
    """
    likeliest = sorted(one.values(), reverse=True)[:WIDE]
    for name, value in one.items():
        if value > likeliest[-1] + CLOSE and abs(other.get(name, LOWEST) - value) > CLOSE:
            return False
    return True


def spread(values: Collection[float]) -> float:
    return max(values) - min(values) if values else 0.0


def must_be_alike(row: Row, other: Row, what: str, known: Mapping[str, bool]) -> None:
    """known: (by dialect) whether it explains what is seen."""
    if alike(row.values, other.values):
        return
    expected, seen = (f"{first(r.values)}" for r in (row, other))
    raise_as(known, f"{expected} with {what}", seen, other.at)


def raise_as(known: Mapping[str, bool], expected: str, seen: str, at: Exchange) -> None:
    for name, explains in known.items():
        if explains:
            raise NonStrict(expected, seen, note=f"log-probabilities {name}", at=at)
    raise Failed(expected, seen, at=at)


def first(values: Values) -> str:
    return ", ".join(f"{name!r} {value:.4f}" for name, value in list(values.items())[:5])


def scaled(row: Row, other: Row, scale: float) -> bool:
    """Whether the other's values are those at a temperature, if the row's are those at 1."""
    moved = {n: value / scale for n, value in row.values.items()}
    both = shifts(moved, other.values)
    return len(both) > 1 and spread(both.values()) <= CLOSE


def renormalised(row: Row, other: Row) -> bool:
    """Whether the other's values are the row's of some tokens, with all that there is."""
    kept = {n: v for n, v in other.values.items() if v > LOWEST}
    everything = math.fsum(math.exp(v) for v in kept.values())
    both = shifts(row.values, kept).values()
    return abs(everything - 1) <= CLOSE and spread(both) <= CLOSE and min(both, default=0) > CLOSE


def only_these_moved(one: Values, other: Values, names: Collection[str]) -> bool:
    """Whether all others kept their distances, but these did not keep theirs."""
    moved = shifts(one, other)
    rest = [v for n, v in moved.items() if n not in names]
    these = [abs(v - rest[0]) for n, v in moved.items() if rest and n in names]
    return len(rest) > 1 and spread(rest) <= CLOSE and any(v > CLOSE for v in these)


def demand_entries(choice: Choice, likeliest: set[str], choices: list[Choice]) -> None:
    """The entries of one draw; the others tell in which way they are wrong."""
    entries = set(choice.rows.top[0] or {})
    expected = likeliest | {choice.rows.tokens[0]}
    if entries == expected:
        return
    tops = [(set(c.rows.top[0] or {}), c.rows.tokens[0]) for c in choices]
    known = {
        "the chosen token is left out if it is not likely": all(t == likeliest for t, _ in tops),
        "always N: the chosen token takes the place of another": all(
            name in top and len(top) == len(likeliest) for top, name in tops
        ),
    }
    for note, explains in known.items():
        if explains:
            raise NonStrict(f"{sorted(expected)}", f"{sorted(entries)}", note=note, at=choice.at)
    require(False, f"{sorted(expected)} in top_logprobs", sorted(entries), choice.at)


def compare(plain: Choice, other: Choice, what: str) -> bool:
    """Rows as far as the same tokens come before them. Returns whether a penalised token is among
    those compared, or was chosen for its penalty.
    """
    a, b = plain.rows, other.rows
    told = False
    for i in range(1, min(len(a.tokens), len(b.tokens))):
        if a.tokens[:i] != b.tokens[:i]:
            return True
        one, two, before = a.top[i] or {}, b.top[i] or {}, set(a.tokens[:i])
        told = told or bool(before & one.keys())
        if not alike(one, two):
            known = {"after penalties": only_these_moved(one, two, before)}
            raise_as(known, f"{first(one)} with {what}", first(two), other.at)
    return told


def under(server: Server, row: Row, settings: Iterable[dict[str, Any]]) -> list[tuple[str, Row]]:
    """The row under each setting that the server knows. Raises Unsupported if it knows none."""
    found: list[tuple[str, Row]] = []
    refused: Unsupported | None = None
    for fields in settings:
        try:
            found.append((f"{fields}", row_of(server, row.prompt, **fields)))
        except Unsupported as outcome:
            refused = outcome
    if refused is not None and not found:
        raise refused
    return found


def as_the_model_says(server: Server, count: int, **fields: Any) -> None:
    """Values and ranks of six tokens against the reference's."""
    truth, params = server.truth, {k: v for k, v in fields.items() if k not in ("prompt", "seed")}
    choice = server.ask(max_tokens=6, logprobs=count, **naming(server), **fields).choice
    steps = truth.steps(fields["prompt"], params, truth.token_ids(choice))
    model = [log_softmax(step.logits) for step in steps]
    if (wrong := deviation(truth, choice.rows, model, count)) is None:
        return
    scale = params.get("temperature", 1.0)
    heated = [log_softmax(temperature(s.logits, scale)) for s in steps] if scale else []
    penalised_too = [log_softmax(penalised(s.logits, s.history)) for s in steps]
    known = {
        "after temperature": bool(heated) and fits(truth, choice.rows, heated, count),
        "after penalties": fits(truth, choice.rows, penalised_too, count),
    }
    raise_as(known, *wrong, choice.at)


def echoed_as_the_model_says(server: Server, count: int, prompt: str) -> None:
    """Values and ranks of a prompt's tokens against the reference's."""
    truth = server.truth
    fields = {"max_tokens": 1, "logprobs": count, "echo": True, **naming(server)}
    answer = server.ask(prompt=prompt, **fields)
    rows, ids = answer.choice.rows, truth.ids(prompt)
    equal(
        [truth.token_id(name, rows) for name in rows.tokens][: len(ids)],
        [*ids],
        "ids of the prompt",
    )
    inside = slice(1, len(ids))
    said = Rows(rows.tokens[inside], rows.values[inside], rows.top[inside], rows.offsets[inside])
    reports = truth.prompt_reports(prompt, truth.model.vocab_size)
    if wrong := deviation(truth, said, [dense(report) for report in reports if report], count):
        raise Failed(*wrong, at=answer.at)


def dense(report: TokenLogprobs) -> Logits:
    """(V,): of a report of all tokens."""
    values = dict(report.top)
    return np.array([values[token] for token in range(len(values))], np.float32)


def fits(truth: Truth, said: Rows, rows: Sequence[Logits], count: int) -> bool:
    return deviation(truth, said, rows, count) is None


def deviation(
    truth: Truth, said: Rows, rows: Sequence[Logits], count: int
) -> tuple[str, str] | None:
    """What was expected, and what was seen, where rows that were said first differ from these.

    Values may be off by the tolerance, so ranks may be wrong by twice that.
    """
    for i, (row, name) in enumerate(zip(rows, said.tokens, strict=False)):
        values = {**(said.top[i] or {}), name: said.values[i]}
        least = np.sort(row)[-count] - 2 * truth.tolerance
        for other, value in values.items():
            exact = max(float(row[truth.token_id(other, said)]), LOWEST)
            where = f"of {other!r} in row {i + 1}"
            if value is None or not abs(exact - value) <= truth.tolerance:
                return f"{exact:.4f} {where}", f"{value}"
            if other != name and exact < least:
                return f"one of the {count} likeliest in row {i + 1}", repr(other)
    return None
