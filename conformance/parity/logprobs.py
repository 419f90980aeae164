"""What is reported as a log-probability, and the ranking of the likeliest tokens."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.harness.compiled import compiled
from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.strategies import ROWS, B, V, per_row
from conformance.parity.harness.tolerance import ULPS, close
from jax_backend import logprobs
from reference import logprobs as spec
from reference.logits import Logits

TOP = 5  # of the likeliest tokens are computed, and fewer may be asked for


def report(example: dict[str, Any], tally: Tally) -> None:
    """A token's log-probability and the likeliest tokens, ranked, are the reference's."""
    x, tokens, top = example["x"], example["token"], example["top"]
    found, highest, ids = compiled(logprobs.token_logprobs, 2)(x, np.array(tokens, np.int32), TOP)
    for i in range(B):
        expected = spec.token_logprobs(x[i], tokens[i], top)
        close(found[i], expected.logprob, size=1)
        listed = np.asarray(ids[i][:top])
        near = legal_ranking(x[i], listed, np.asarray(highest[i][:top]))
        other = listed.tolist() != [token for token, _ in expected.top[:top]]
        tally.decided(near, int(other))


def legal_ranking(x: Logits, ids: np.ndarray, values: np.ndarray) -> int:
    """How many neighbours in a ranking are within the tolerance of each other, so that either may
    come first. Raises AssertionError unless these are the likeliest tokens, the likeliest first,
    and the lowest id first of equal logits.
    """
    assert len(set(ids.tolist())) == len(ids), f"{ids} twice"
    expected = spec.log_softmax(x)
    close(values, expected[ids], size=1)
    ranked = [*ids.tolist()]
    rest = sorted(set(range(V)) - set(ranked), key=lambda i: (-x[i], i))
    near = 0
    for a, b in zip(ranked, ranked[1:] + rest[:1], strict=False):
        slack = ULPS * max(1, abs(expected[a]))
        assert expected[a] >= expected[b] - slack, f"{a} before {b}"
        assert x[a] != x[b] or a < b, f"{a} before {b}, which ties"
        near += x[a] != x[b] and expected[a] <= expected[b] + slack
    return int(near)


PROPERTIES = (
    Property(
        "logprobs/report",
        st.fixed_dictionaries(
            {"x": ROWS, "token": per_row(st.integers(0, V - 1)), "top": st.integers(0, TOP)}
        ),
        report,
    ),
)
