"""Answers compared with cases: tolerances, dialects, invalid answers."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.vectors.comparing import compare
from conformance.vectors.families import DISTRIBUTION, EXACT, LOGIT_RULE, SHIFTED
from conformance.vectors.lines import Case
from conformance.verdicts import Verdict

ALPHA = 1e-6
KEPT = Case(
    id="top_k/tie",
    input={"logits": [1.0, 3.0, 0.0, 1.0], "top_k": 2},
    expect={"kept": [0, 1, 3], "probabilities": [0.106506978, 0.786986043, 0.0, 0.106506978]},
    dialects={"by rank": {"logits": [-2.0, 0.0, None, None]}},
)
LOGITS = Case(id="mask/a", input={}, expect={"logits": [2.0, None, -1.0]})


def verdict(case: Case, rules: Any, answer: Any) -> tuple[Verdict, str]:
    outcome = compare(case, rules, answer, ALPHA)
    return (outcome.verdict, outcome.note) if outcome else (Verdict.PASS, "")


@pytest.mark.parametrize(
    "answer",
    [
        {"kept": [0, 1, 3]},
        {"kept": [3, 0, 1]},
        {"probabilities": [0.1065070, 0.786986, 0, 0.106507]},
        {"logits": [-2, 0, None, -2]},
        {"logits": [5.0, 7.0, -1e31, 5.0]},
        {"kept": [1, 0, 3], "logits": [1, 3, None, 1]},
    ],
)
def test_right_answers(answer: dict[str, Any]) -> None:
    assert verdict(KEPT, DISTRIBUTION, {"id": KEPT.id, **answer}) == (Verdict.PASS, "")


@pytest.mark.parametrize(
    "answer",
    [
        {"kept": [0, 1]},
        {"kept": [1, 0], "logits": [4, 6, None, None]},
        {"probabilities": [0.119202922, 0.880797078, 0.0, 0.0]},
    ],
)
def test_dialects_are_named(answer: dict[str, Any]) -> None:
    assert verdict(KEPT, DISTRIBUTION, answer) == (Verdict.NON_STRICT, "by rank")


@pytest.mark.parametrize(
    "answer",
    [
        {"kept": [1]},
        {"kept": []},
        {"kept": [0, 1, 3, 3]},
        {"kept": [0, 1, 2, 3]},
        {"probabilities": [0.1066, 0.7868, 0, 0.1066]},
        {"probabilities": [0.106507, 0.786986, 0, 0.106507, 0]},
        {"logits": [1, 3, 0, 1]},
        {"logits": [None, None, None, None]},
        {"kept": [0, 1, 3], "logits": [1, 3, None, None]},
        {"kept": [0, 1], "logits": [1, 3, None, 1]},
    ],
)
def test_wrong_answers(answer: dict[str, Any]) -> None:
    assert verdict(KEPT, DISTRIBUTION, answer) == (Verdict.FAIL, "")


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (None, "not a JSON object"),
        ([1], "not a JSON object"),
        ({"id": "x"}, "none of the fields"),
        ({"kpet": [1]}, "unknown fields ['kpet']"),
        ({"kept": 5}, "another type"),
        ({"kept": ["a"]}, "another type"),
        ({"logits": "1"}, "another type"),
        ({"probabilities": [[1], 2]}, "another type"),
        ({"probabilities": [True, False, True, False]}, "another type"),
        ({"error": "out of memory"}, "out of memory"),
    ],
)
def test_invalid_answers(answer: Any, note: str) -> None:
    result, text = verdict(KEPT, DISTRIBUTION, answer)
    assert result is Verdict.ERROR and note in text


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"kept": [1, 0]}, Verdict.NON_STRICT),
        ({"kept": [1, 3]}, Verdict.NON_STRICT),
        ({"logits": [None, 2, None, 0]}, Verdict.NON_STRICT),
        ({"probabilities": [0.12, 0.88, 0, 0]}, Verdict.NON_STRICT),
        ({"kept": [1]}, Verdict.FAIL),
        ({"kept": [0]}, Verdict.FAIL),
        ({"kept": [1, 2]}, Verdict.FAIL),
        ({"kept": [0, 3]}, Verdict.FAIL),
    ],
)
def test_ties_may_be_cut_in_any_order(answer: dict[str, Any], expected: Verdict) -> None:
    values = {"cut": {"kept": [1], "tied": [0, 3], "tied_count": 1}}
    case = Case(id=KEPT.id, input=KEPT.input, expect=KEPT.expect, dialects=values)
    assert verdict(case, DISTRIBUTION, answer)[0] is expected


def test_kept_tokens_are_shown_in_the_place_of_logits() -> None:
    outcome = compare(KEPT, DISTRIBUTION, {"logits": [1, 3, 0, 1]}, ALPHA)
    assert outcome is not None
    assert (outcome.expected, outcome.seen) == ("kept [0, 1, 3]", "kept [0, 1, 2, 3]")


def test_unsupported() -> None:
    result = verdict(KEPT, DISTRIBUTION, {"unsupported": True, "reason": "no ties here"})
    assert result == (Verdict.UNSUPPORTED, "no ties here")
    assert verdict(KEPT, DISTRIBUTION, {"unsupported": True})[0] is Verdict.UNSUPPORTED
    assert verdict(KEPT, DISTRIBUTION, {"unsupported": False})[0] is Verdict.ERROR


@given(st.floats(-100, 100), st.floats(-1, 1))
def test_constant_matters_except_where_the_rule_allows_it(shift: float, error: float) -> None:
    answer = {"logits": [2.0 + shift, None, -1.0 + shift]}
    close = abs(shift) <= 1e-5
    if abs(abs(shift) - 2e-5) > 2e-5:
        expected = Verdict.PASS if close else Verdict.FAIL
        assert verdict(LOGITS, {"logits": LOGIT_RULE}, answer)[0] is expected
    assert verdict(LOGITS, {"logits": SHIFTED}, answer)[0] is Verdict.PASS
    other = {"logits": [2.0 + shift, None, -1.0 + shift + error]}
    if abs(error) > 1e-3:
        assert verdict(LOGITS, {"logits": SHIFTED}, other)[0] is Verdict.FAIL


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_exact_values_are_equal_json(value: Any) -> None:
    case = Case(id="finish/a", input={}, expect={"x": value})
    assert verdict(case, {"x": EXACT}, {"x": json.loads(json.dumps(value))})[0] is Verdict.PASS
    assert verdict(case, {"x": EXACT}, {"x": [value]})[0] is Verdict.FAIL


@pytest.mark.parametrize(("given_", "expected"), [(True, 1), (0, False), ("1", 1), (None, "")])
def test_types_are_compared(given_: Any, expected: Any) -> None:
    case = Case(id="finish/a", input={}, expect={"x": expected})
    assert verdict(case, {"x": EXACT}, {"x": given_})[0] is Verdict.FAIL


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["kept", "logits", "probabilities", "id"]), x)
        ),
    )
)
def test_arbitrary_answers_have_an_outcome(answer: Any) -> None:
    assert verdict(KEPT, DISTRIBUTION, answer)[0] in set(Verdict)
