"""Reported log-probabilities against float64, and the listed tokens."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference.logprobs import log_softmax, token_logprobs
from tests.support import strategies


@given(strategies.logits(dropped=False))
def test_log_softmax(x: np.ndarray) -> None:
    values = x.astype(np.float64).tolist()
    total = math.log(math.fsum(math.exp(v - max(values)) for v in values)) + max(values)
    np.testing.assert_allclose(log_softmax(x), [v - total for v in values], rtol=1e-6, atol=1e-5)
    assert log_softmax(x).dtype == np.float32


@given(strategies.logits(dropped=False), st.integers(0, 50), st.data())
def test_sampled_and_top_tokens_are_listed(x: np.ndarray, top: int, data: st.DataObject) -> None:
    token = data.draw(st.integers(0, len(x) - 1))
    result = token_logprobs(x, token, top)
    values = log_softmax(x).tolist()
    ranked = sorted(range(len(x)), key=lambda i: (-values[i], i))[:top]
    assert [i for i, _ in result.top] == ranked + ([] if token in ranked else [token])
    assert all(value == values[i] for i, value in result.top)
    assert result.logprob == values[token] == dict(result.top)[token]


def test_dropped_token_is_minus_infinity() -> None:
    x = np.array([0, -np.inf], dtype=np.float32)
    assert log_softmax(x).tolist() == [0, -math.inf]
