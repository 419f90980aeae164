"""Conditional stages: work that is skipped unless some row of a batch needs it.

On a CPU or TPU the device decides at run time. On a GPU a conditional makes the host wait for the
device and launch nothing meanwhile. There the host decides in advance about the expensive stages,
by static flags; the cheap stages, one or two passes over the logits, always run.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, PyTree

from jax_backend.platform import on_gpu
from reference.params import CompletionParams


class StaticFlags(NamedTuple):
    """The expensive stages that a batch needs; None if the device decides. A static argument: each
    combination is compiled.

    threshold_search: any row uses top_k or top_p. logprobs: any row returns log-probabilities.
    """

    threshold_search: bool | None = None
    logprobs: bool | None = None


def static_flags(rows: list[CompletionParams]) -> StaticFlags:
    """Return the flags of a batch with these parameters."""
    if not on_gpu():
        return StaticFlags()
    threshold_search = any(p.temperature > 0 and (p.top_k > 0 or p.top_p < 1) for p in rows)
    return StaticFlags(threshold_search, any(p.logprobs is not None for p in rows))


def all_static_flags() -> list[StaticFlags]:
    """Return every value of `static_flags`, for ahead-of-time compilation."""
    if not on_gpu():
        return [StaticFlags()]
    return [StaticFlags(*flags) for flags in product((False, True), repeat=2)]


def cond_any(
    active: Bool[Array, "B"],
    compute: Callable[[], PyTree[Array]],
    otherwise: Callable[[], PyTree[Array]],
    static_flag: bool | None = None,
) -> PyTree[Array]:
    """Return `compute()` if any row is active, else `otherwise()`. static_flag: whether any row is
    active, if the host knows.
    """
    if static_flag is None:
        return jax.lax.cond(active.any(), compute, otherwise)
    return compute() if static_flag else otherwise()


def cond_any_unless_gpu(
    active: Bool[Array, "B"],
    compute: Callable[[], PyTree[Array]],
    otherwise: Callable[[], PyTree[Array]],
) -> PyTree[Array]:
    """Like `cond_any`, but a GPU always computes. For cheap stages that leave inactive rows as they
    are.
    """
    return cond_any(active, compute, otherwise, static_flag=True if on_gpu() else None)
