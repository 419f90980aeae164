"""Inputs with many edge cases: ties, boundaries, dropped tokens, the ends of ranges.

Some come from `conformance.parity.harness.strategies`.
"""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conformance.parity.harness.strategies import SEEDS as SEEDS
from conformance.parity.harness.strategies import VALUES as VALUES
from tests.support.texts import HARD_TEXTS

SIZES = st.integers(1, 40)


@st.composite
def logits(draw: st.DrawFn, dropped: bool = True) -> np.ndarray:
    """(V,) float32 with ties. dropped: whether some, never all, are −inf."""
    x = draw(hnp.arrays(np.float32, SIZES, elements=VALUES))
    if dropped:
        is_dropped = draw(hnp.arrays(np.bool_, len(x)))
        is_dropped[draw(st.integers(0, len(x) - 1))] = False
        x = np.where(is_dropped, np.float32(-np.inf), x)
    return x


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="▁")
TEXTS = st.one_of(st.sampled_from(HARD_TEXTS), st.text(CHARACTERS, max_size=30))
