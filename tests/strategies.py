"""Inputs that favour what goes wrong: ties, boundaries, dropped tokens, the ends of ranges."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SIZES = st.integers(1, 40)
VALUES = st.one_of(
    st.sampled_from([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]),
    st.floats(-20, 20, width=32, allow_subnormal=False),
)


@st.composite
def logits(draw: st.DrawFn, dropped: bool = True) -> np.ndarray:
    """(V,) float32 with ties; if `dropped`, some −inf, but never all."""
    x = draw(hnp.arrays(np.float32, SIZES, elements=VALUES))
    if dropped:
        gone = draw(hnp.arrays(np.bool_, len(x)))
        gone[draw(st.integers(0, len(x) - 1))] = False
        x = np.where(gone, np.float32(-np.inf), x)
    return x


SEEDS = st.one_of(
    st.sampled_from([0, 1, -1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]),
    st.integers(-(2**63), 2**64 - 1),
)

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="▁")
HARD_TEXTS = [
    "",
    " ",
    "  two  spaces  ",
    "\n\n\t x",
    " leading",
    "trailing ",
    "Zoë naïve café",
    "e\u0301 a\u0308\u0323",
    "👩‍👩‍👧‍👦 🇨🇦 🏳️‍🌈",
    "你好，世界 こんにちは 안녕",
    "שלום مرحبا नमस्ते",
    "\x00\x01\x1f\x7f\x80",
    "\u200b\u200d\ufeff\u2028\u00a0\u3000",
    "\ufffd\ufffe\uffff",
    "𐍈 𝔘𝔫𝔦 🜁 𠀀 \U000e0001 \U000f0000 \U0010ffff",
    "12345 3.14 1,000",
    "a" * 50,
    "don't DON'T I'll",
    "<0x0A> <0xFF>",
    "{'json': [1, 2, {\"a\": null}]}",
]
TEXTS = st.one_of(st.sampled_from(HARD_TEXTS), st.text(CHARACTERS, max_size=30))
