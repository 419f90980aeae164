"""Reported log-probabilities, and the ranking of the most likely tokens."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.strategies import LOGITS, B, V, per_row
from conformance.parity.harness.tolerance import ULPS, assert_close
from jax_backend import logprobs
from reference import logprobs as spec
from reference.logits import Logits

MAX_TOP = 5  # most likely tokens are computed; an example uses these or fewer


def token_logprobs(example: dict[str, Any], coverage: Coverage) -> None:
    """A token's log-probability and the ranked most likely tokens are the reference's."""
    x, tokens, top = example["x"], example["token"], example["top"]
    actual, highest, ids = compiled(logprobs.token_logprobs, 2)(
        x, np.array(tokens, np.int32), MAX_TOP
    )
    for i in range(B):
        expected = spec.token_logprobs(x[i], tokens[i], top)
        assert_close(actual[i], expected.logprob, size=1)
        ranked = np.asarray(ids[i][:top])
        borderline = count_borderline_ranks(x[i], ranked, np.asarray(highest[i][:top]))
        flipped = ranked.tolist() != [token for token, _ in expected.top[:top]]
        coverage.add_decisions(borderline, int(flipped))


def count_borderline_ranks(x: Logits, ids: np.ndarray, values: np.ndarray) -> int:
    """Return how many neighbors of a ranking are within the tolerance, so that either may be first.
    Raises AssertionError unless these are the most likely tokens, in descending order, with the
    lowest id first on a tie.
    """
    assert len(set(ids.tolist())) == len(ids), f"{ids} has duplicates"
    expected = spec.log_softmax(x)
    assert_close(values, expected[ids], size=1)
    ranked = [*ids.tolist()]
    rest = sorted(set(range(V)) - set(ranked), key=lambda i: (-x[i], i))
    borderline = 0
    for a, b in zip(ranked, ranked[1:] + rest[:1], strict=False):
        slack = ULPS * max(1, abs(expected[a]))
        assert expected[a] >= expected[b] - slack, f"{a} before {b}"
        assert x[a] != x[b] or a < b, f"{a} before {b}, with which it ties"
        borderline += x[a] != x[b] and expected[a] <= expected[b] + slack
    return int(borderline)


PROPERTIES = (
    Property(
        "logprobs/token_logprobs",
        st.fixed_dictionaries(
            {"x": LOGITS, "token": per_row(st.integers(0, V - 1)), "top": st.integers(0, MAX_TOP)}
        ),
        token_logprobs,
    ),
)
