"""Compares an answer with the expected result of a case, and with the results of dialects."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from conformance.vectors.lines import Case, array, rounded
from conformance.vectors.samples import judge_samples
from conformance.verdicts import Failed, NonStrict, Outcome, ServerError, Unsupported
from reference.logits import probabilities

LOWEST = -1e30  # a lower number counts as −∞
Rules = Mapping[str, Mapping[str, Any]]
Values = Mapping[str, Any]


def compare(case: Case, rules: Rules, answer: Any, alpha: float) -> Outcome | None:
    """Return the outcome of an answer; None if it is right.

    rules: those of the header. alpha: the error rate of a test of samples.
    """
    try:
        given = parse_answer(case, rules, answer)
        if "tokens" in given:
            judge_samples(case, given["tokens"], alpha)
            return None
        expected = derived(case.expect, rules)
        wrong = [
            name
            for name, value in given.items()
            if not agrees(rules[name], value, expected.get(name))
        ]
    except Outcome as outcome:
        return outcome
    except (TypeError, ValueError, OverflowError) as error:
        return ServerError(f"the answer has values of another type: {error}")
    if not wrong:
        return None
    note = " or ".join(matching_dialects(case, rules, given))
    kind = NonStrict if note else Failed
    return kind(*difference(wrong[0], expected, given), note=note)


def difference(name: str, expected: Values, given: Values) -> tuple[str, str]:
    """Return the expected and the given value of a field that is wrong. Of logits, the tokens that
    are left are shown instead if they differ.
    """
    if name == "logits" and "kept" in expected and (kept := kept_ids(given)) != expected["kept"]:
        return f"kept {show(expected['kept'])}", f"kept {show(kept)}"
    seen = sorted(given[name]) if name == "kept" else given[name]
    return f"{name} {show(expected.get(name))}", show(seen)


def kept_ids(given: Values) -> list[int] | None:
    """Return the tokens that an answer keeps; None if it does not say."""
    if "kept" in given:
        return ids(given["kept"])
    for name in "logits", "probabilities":
        if name in given:
            values = numbers(given[name])
            return np.flatnonzero(np.isfinite(values) if name == "logits" else values > 0).tolist()
    return None


def parse_answer(case: Case, rules: Rules, answer: Any) -> dict[str, Any]:
    """Return the fields of an answer. Raises Unsupported, or ServerError for an invalid one."""
    if not isinstance(answer, dict):
        raise ServerError(f"the answer is not a JSON object: {show(answer)}")
    if answer.get("unsupported") is True:
        raise Unsupported(str(answer.get("reason", "")) or "the program does not support the case")
    if "error" in answer:
        raise ServerError(f"the program reports an error: {show(answer['error'])}")
    given = {name: value for name, value in answer.items() if name != "id"}
    if unknown := set(given) - set(rules):
        raise ServerError(f"unknown fields {sorted(unknown)}: {case.family} has {sorted(rules)}")
    if not given:
        raise ServerError(f"the answer has none of the fields {sorted(rules)}")
    return given


def agrees(rule: Mapping[str, Any], given: Any, expected: Any) -> bool:
    """Return whether a value follows the rule of its field. expected: None if the case has none."""
    match rule["rule"]:
        case "exact":
            return same(given, expected)
        case "set":
            return ids(given) == sorted(expected)
        case "close":
            return close(numbers(given), numbers(expected), rule)
        case "close up to a constant":
            given, expected = numbers(given), numbers(expected)
            if given.shape != expected.shape or not np.isfinite(given).any():
                return False
            return close(given - given.max(), expected - expected.max(), rule)
    raise ValueError(f"the rule {rule['rule']!r} is not known")


def same(given: Any, expected: Any) -> bool:
    """Return whether two JSON values are equal; true is not 1."""
    return json.dumps(given, sort_keys=True) == json.dumps(expected, sort_keys=True)


def numbers(value: Any) -> np.ndarray:
    """Return a number or nested lists of numbers as an array; null, or below `LOWEST`, is −∞.

    Raises TypeError for other values.
    """
    if isinstance(value, list) and value and isinstance(value[0], list):
        if not all(isinstance(row, list) for row in value):
            raise TypeError("rows and numbers are mixed")
        return np.array([numbers(row) for row in value])
    values = value if isinstance(value, list) else [value]
    if wrong := [v for v in values if v is not None and type(v) not in (int, float)]:
        raise TypeError(f"{show(wrong[0])} is not a number")
    result = np.array([-math.inf if v is None else float(v) for v in values], np.float64)
    return np.where(result < LOWEST, -math.inf, result)


def ids(value: Any) -> list[int]:
    """Return ids in order. Raises TypeError for anything else."""
    if not isinstance(value, list) or any(type(token) is not int for token in value):
        raise TypeError(f"{show(value)} is not a list of ids")
    return sorted(value)


def close(given: np.ndarray, expected: np.ndarray, rule: Mapping[str, Any]) -> bool:
    if given.shape != expected.shape:
        return False
    finite = np.isfinite(expected)
    allowed = rule["absolute"] + rule["relative"] * np.abs(expected[finite])
    within = np.abs(given[finite] - expected[finite]) <= allowed
    return bool(within.all() and (given[~finite] == expected[~finite]).all())


def derived(values: Values, rules: Rules) -> dict[str, Any]:
    """Add what follows from logits: the tokens that are left, and their probabilities."""
    result = dict(values)
    if "kept_bits" in values:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(values["kept_bits"]), np.uint8))
        result["kept"] = np.flatnonzero(bits).tolist()
    if "logits" in values and "probabilities" in rules:
        x = array(values["logits"])
        result.setdefault("kept", np.flatnonzero(np.isfinite(x)).tolist())
        result.setdefault("probabilities", rounded(probabilities(x)))
    elif "probabilities" in values and "logits" in rules:
        kept = set(values["kept"])
        result["logits"] = [
            math.log(p) if i in kept and p > 0 else None
            for i, p in enumerate(values["probabilities"])
        ]
    return result


def matching_dialects(case: Case, rules: Rules, given: Values) -> list[str]:
    """Return the names of the dialects whose results are the answer."""
    names = []
    for name, values in case.dialects.items():
        if "tied" in values:
            names += [name] if keeps_some_ties(values, given) else []
            continue
        result = derived(values, rules)
        known = [field for field in given if field in result]
        if known and all(agrees(shifting(rules, f), given[f], result[f]) for f in known):
            names.append(name)
    return names


def keeps_some_ties(values: Values, given: Values) -> bool:
    """Return whether an answer keeps the tokens above a tie, and the right number of the tied ones,
    whichever they are.
    """
    rest = set(kept_ids(given) or ()) ^ set(values["kept"])
    return rest <= set(values["tied"]) and len(rest) == values["tied_count"]


def shifting(rules: Rules, field: str) -> Mapping[str, Any]:
    """Return the rule of a field of a dialect, whose logits have a maximum of 0."""
    if field == "logits":
        return {**rules[field], "rule": "close up to a constant"}
    return rules[field]


def show(value: Any) -> str:
    """Return a value as short JSON."""
    text = json.dumps(value)
    return text if len(text) <= 300 else f"{text[:300]}…"
