"""Explanations of a token: the stages, what each step removed and why, and the draw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import sampler, threefry
from reference.explain import Explanation, Reason, explain, step_label
from reference.params import CompletionParams
from reference.sampler import SamplingHistory
from tests.support import strategies

PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0, 0.3, 1, 2]),
        "min_p": st.sampled_from([0, 0.05, 0.5, 1]),
        "top_k": st.integers(0, 6),
        "top_p": st.sampled_from([0, 0.3, 0.9, 1]),
        "repetition_penalty": st.sampled_from([0.5, 1, 3]),
        "frequency_penalty": st.sampled_from([-2, 0, 1]),
        "presence_penalty": st.sampled_from([-1, 0, 2]),
    },
)


@st.composite
def explanations(draw: st.DrawFn) -> tuple[Explanation, SamplingHistory]:
    """Draw an explanation of random logits, and the history that it belongs to."""
    x = draw(strategies.logits(dropped=False))
    size = len(x)
    bits = st.lists(st.booleans(), min_size=size, max_size=size)
    allowed = np.array(draw(bits))
    allowed[draw(st.integers(0, size - 1))] = True
    counts = np.array(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    present = np.array(draw(bits)) | (counts > 0)
    params = CompletionParams(**draw(PARAMS))
    history = SamplingHistory(params=params, allowed=allowed, present=present, counts=counts)
    return explain(x, history, threefry.noise(draw(strategies.SEEDS), 0, 0, size)), history


@given(explanations())
def test_token_and_stages_are_those_of_the_sampler(
    case: tuple[Explanation, SamplingHistory],
) -> None:
    explained, history = case
    x = explained.stages[0].logits
    assert explained.token == sampler.sample(x, history, explained.noise)
    traced = [after for _, after in sampler.trace(x, history)]
    for stage, after in zip(explained.stages[1:], traced, strict=True):
        np.testing.assert_array_equal(stage.logits, after)
        assert stage.kept == np.isfinite(after).sum()
    best = explained.top_scores(len(x))
    assert best[0] == explained.token and len(best) == explained.stages[-1].kept
    assert explained.runner_up == (best[1] if len(best) > 1 else None)


@given(explanations())
def test_removed_tokens_have_a_reason_that_holds(
    case: tuple[Explanation, SamplingHistory],
) -> None:
    explained, history = case
    removed = {int(i): stage for stage in explained.stages for i in stage.removed}
    for token in range(len(explained.noise)):
        removal = explained.removal(token)
        assert (removal is None) == (token not in removed)
        assert (removal is None) == bool(np.isfinite(explained.stages[-1].logits[token]))
        if removal is not None:
            step, reason = removal
            assert step == removed[token].name
            check_reason(reason, history, token)


def check_reason(reason: Reason, history: SamplingHistory, token: int) -> None:
    n = reason.numbers
    match reason.text:
        case "not allowed":
            assert not history.allowed[token]
        case "same logit, but id > argmax":
            assert history.params.temperature == 0
        case "logit < max":
            assert n["logit"] < n["max"]
        case "p < min_p × p_max":
            assert n["min_p"] == history.params.min_p
            assert n["p"] < n["min_p"] * n["p_max"] * (1 + 1e-6)  # the step compares in float32
        case "rank > top_k":
            assert n["rank"] > n["top_k"] == history.params.top_k
        case "mass_above ≥ top_p":
            assert n["mass_above"] >= n["top_p"] == history.params.top_p
        case text:
            raise AssertionError(text)


@given(explanations(), st.integers(1, 4))
def test_rows_are_the_top_tokens_before_and_after(
    case: tuple[Explanation, SamplingHistory], count: int
) -> None:
    explained, _ = case
    rows = explained.top_tokens(count)
    assert explained.token in rows and len(set(rows)) == len(rows) <= 2 * count + 1
    for stage in (explained.stages[0], explained.stages[-1]):
        p = stage.probabilities
        shown = sorted(p[rows], reverse=True)[:count]
        best = [value for value in np.sort(p)[::-1][:count] if value > 0]
        assert shown[: len(best)] == pytest.approx(best)


def test_raised_token_is_a_row() -> None:
    """The model finds token 3 least likely; a negative penalty makes it the most likely one."""
    history = SamplingHistory(
        params=CompletionParams(frequency_penalty=-2),
        allowed=np.ones(4, np.bool_),
        present=np.zeros(4, np.bool_),
        counts=np.array([0, 0, 0, 5]),
    )
    explained = explain(np.float32([3, 2, 1, 0]), history, np.zeros(4, np.float32))
    assert explained.token == 3 and explained.top_tokens(1) == [3, 0]
    changed = [stage.name for stage in explained.stages if stage.changed]
    assert changed == ["frequency_penalty"]


@pytest.mark.parametrize(
    ("response_format", "label"),
    [
        (None, "allowed"),
        ({"type": "text"}, "allowed"),
        ({"type": "json_object"}, "response_format"),
    ],
)
def test_first_step_has_the_name_of_what_was_requested(
    response_format: dict[str, str] | None, label: str
) -> None:
    params = CompletionParams(response_format=response_format)
    assert step_label("response_format", params) == label
    assert step_label("top_k", params) == "top_k"
