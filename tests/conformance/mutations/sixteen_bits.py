"""Models that compute in 16 bits: the result of each operation is rounded, as on an accelerator.

An array of the model is a subclass of NumPy's whose operations round their results, and whose
results are arrays of the same kind. So the reference engine runs unchanged.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from reference.bundle import Bundle

BITS_DROPPED = 16  # of a float32, to make a bfloat16


class Rounded(np.ndarray):
    """An array whose operations round their results: `round_` is the rounding."""

    round_: Callable[[np.ndarray], np.ndarray] = staticmethod(lambda x: x)
    keeps_kind = True

    def __array_finalize__(self, source: Any) -> None:
        self.round_ = getattr(source, "round_", self.round_)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)  # a new array of this type is returned instead
        plain = [x.view(np.ndarray) if isinstance(x, Rounded) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **options)
        if out is not None:
            result = np.asarray(result, out[0].dtype)
        if not isinstance(result, np.ndarray) or result.dtype != np.float32:
            return result
        rounded = self.round_(result)
        return rounded_array(rounded, self.round_, type(self)) if self.keeps_kind else rounded


class Head(Rounded):
    """The output projection, whose products are plain: a sampler computes in float32."""

    keeps_kind = False


def rounded_array(
    x: np.ndarray, round_: Callable[[np.ndarray], np.ndarray], kind: type[Rounded]
) -> Rounded:
    view = x.view(kind)
    view.round_ = round_
    return view


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Round float32 numbers to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    even = (bits >> BITS_DROPPED) & 1
    rounded = (bits + np.uint32(0x7FFF) + even) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(x), rounded.view(np.float32), x).astype(np.float32)


def to_float16(x: np.ndarray) -> np.ndarray:
    """Round float32 numbers to the nearest float16; those out of its range stay."""
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(rounded), rounded, x).astype(np.float32)


ROUNDINGS = {"bfloat16": to_bfloat16, "float16": to_float16}


def in_sixteen_bits(model: Bundle, dtype: str = "bfloat16") -> Bundle:
    """Return a model whose weights and intermediate results have 16 bits."""
    round_ = ROUNDINGS[dtype]

    def convert(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return rounded_array(round_(value), round_, Rounded)
        if isinstance(value, tuple):
            return tuple(map(convert, value))
        if is_dataclass(value) and not isinstance(value, type):
            return replace(
                value, **{f.name: convert(getattr(value, f.name)) for f in fields(value)}
            )
        return value

    checkpoint = model.checkpoint
    weights = convert(checkpoint.weights)
    head = rounded_array(round_(np.asarray(checkpoint.weights.lm_head)), round_, Head)
    return replace(model, checkpoint=replace(checkpoint, weights=replace(weights, lm_head=head)))
