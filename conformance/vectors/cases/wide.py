"""Large vocabularies. The logits are tensors of `wide.safetensors`."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from conformance.vectors.cases.build import normal, uniform
from conformance.vectors.cases.chain import CHAIN_INPUT
from conformance.vectors.families import HEX, SET, TEXT, Family
from conformance.vectors.lines import Case
from conformance.vectors.margins import MIN_MARGIN, chain_margin, stated
from conformance.vectors.reference import history_of
from reference.sampler import final_logits

SMALL, LARGE = 32_000, 128_256  # Llama 2 and Llama 3
TENSOR_FILE = "wide.safetensors"
THRESHOLDS = ("min_p", "top_p")


def peaked(seed: int, size: int) -> np.ndarray:
    """Return logits as of a trained model: most far below a few likely tokens."""
    x = normal(seed, size, scale=1.5, grid=2**-6)
    likely = (uniform(seed + 1, 40) * size).astype(int)
    x[likely] += 12 - np.arange(40, dtype=np.float32) / 5.0
    return (np.round(x * 64) / 64).astype(np.float32)


@cache
def tensors() -> Mapping[str, np.ndarray]:
    one_hot = np.full(SMALL, -20, np.float32)
    one_hot[12_345] = 20
    bfloat16 = normal(61, LARGE, scale=4.0, grid=2**-8).astype(ml_dtypes.bfloat16)
    return {
        "normal-32000": normal(60, SMALL, scale=3.0, grid=2**-6),
        "peaked-32000": peaked(62, SMALL),
        "equal-32000": np.zeros(SMALL, ml_dtypes.bfloat16),
        "one-hot-32000": one_hot.astype(ml_dtypes.bfloat16),
        "peaked-128256": peaked(63, LARGE),
        "bfloat16-128256": bfloat16,
    }


PARAMETERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("normal-32000", "top-k-50", {"top_k": 50}),
    ("normal-32000", "top-k-20000", {"top_k": 20_000}),
    ("normal-32000", "top-p-half", {"top_p": 0.503}),
    ("normal-32000", "top-p-90", {"top_p": 0.9017}),
    ("normal-32000", "min-p", {"min_p": 0.0123}),
    ("peaked-32000", "top-p-90", {"top_p": 0.9}),
    ("peaked-32000", "hot-top-p", {"temperature": 1.7, "top_p": 0.8}),
    ("peaked-32000", "all-three", {"temperature": 0.8, "min_p": 0.02, "top_k": 40, "top_p": 0.9}),
    ("equal-32000", "top-k-1", {"top_k": 1}),
    ("equal-32000", "top-p-small", {"top_p": 0.01}),
    ("equal-32000", "min-p-1", {"min_p": 1.0}),
    ("one-hot-32000", "top-k-2", {"top_k": 2}),
    ("one-hot-32000", "top-p", {"top_p": 0.99}),
    ("peaked-128256", "top-k-100", {"top_k": 100}),
    ("peaked-128256", "top-p-95", {"top_p": 0.95}),
    ("peaked-128256", "min-p", {"min_p": 0.0502}),
    ("bfloat16-128256", "top-k-1000", {"top_k": 1000}),
    ("bfloat16-128256", "top-p-70", {"top_p": 0.703}),
    ("bfloat16-128256", "greedy", {"temperature": 0.0}),
)


def robust(x: np.ndarray, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters, of which the thresholds are raised until rounding cannot matter."""
    for step in range(100):
        raised = {k: round(v + step * 7e-4, 4) for k, v in params.items() if k in THRESHOLDS}
        result = {**params, **(raised if step else {})}
        if chain_margin(x, history_of(result, len(x))) >= MIN_MARGIN:
            return result
    raise ValueError(f"no margin: {params}")


def cases() -> Iterator[Case]:
    for tensor, name, given in PARAMETERS:
        x = tensors()[tensor].astype(np.float32)
        params = robust(x, given)
        history = history_of(params, len(x))
        kept = np.isfinite(final_logits(x, history))
        kind, _, size = tensor.rpartition("-")
        flags = {"tie"} if kind in ("equal", "bfloat16", "one-hot", "normal") else {"random"}
        margin = stated(chain_margin(x, history))
        yield Case(
            id=f"wide/{kind}-{size}-{name}",
            input={"tensor": tensor, "prompt": [], "output": [], **params},
            expect={"kept_bits": np.packbits(kept).tobytes().hex()},
            flags=tuple(sorted(flags)),
            margin=margin,
            comment=f"{int(kept.sum())} tokens are kept.",
        )


INPUT = {name: schema for name, schema in CHAIN_INPUT.items() if name != "logits"}
FAMILIES = (
    Family(
        name="wide",
        function="sampler.STEPS",
        statement="All steps with a vocabulary of 32,000 or 128,256 tokens.",
        compare={"kept": SET},
        input={"tensor": TEXT, **INPUT},
        expect={"kept_bits": HEX},
        cases=cases,
        margin="smallest margin of a step",
        files=(TENSOR_FILE,),
    ),
)
