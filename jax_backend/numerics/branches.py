"""What is computed only where some row of a batch asks for it, as the device finds out for itself
or as the host tells.

On a GPU the host takes every branch within a computation: it waits for the device, and hands it
nothing meanwhile. So there it tells beforehand whether any row asks for what takes long; the rest
is a pass or two over the logits, which is made in any case.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, PyTree

from jax_backend.platform import on_gpu
from reference.params import CompletionParams


class Told(NamedTuple):
    """Whether any row looks for a threshold (top_k, top_p), and whether any wants a report; None if
    the device is to find out. It is static: what is told is compiled for.
    """

    searches: bool | None = None
    reports: bool | None = None


def tell(rows: list[CompletionParams]) -> Told:
    """What the host tells of the rows of a batch."""
    if not on_gpu():
        return Told()
    searches = any(p.temperature > 0 and (p.top_k > 0 or p.top_p < 1) for p in rows)
    return Told(searches, any(p.logprobs is not None for p in rows))


def all_told() -> list[Told]:
    """All that it may tell."""
    return [Told(*both) for both in product((False, True), repeat=2)] if on_gpu() else [Told()]


def if_asked(
    asked: Bool[Array, "B"],
    computed: Callable[[], PyTree[Array]],
    otherwise: Callable[[], PyTree[Array]],
    told: bool | None = None,
) -> PyTree[Array]:
    """`computed()` if any row asks, else `otherwise()`."""
    if told is None:
        return jax.lax.cond(asked.any(), computed, otherwise)
    return computed() if told else otherwise()


def if_asked_or_free(
    asked: Bool[Array, "B"],
    computed: Callable[[], PyTree[Array]],
    otherwise: Callable[[], PyTree[Array]],
) -> PyTree[Array]:
    """The same, of a pass or two over the logits that changes no row which does not ask."""
    return if_asked(asked, computed, otherwise, told=True if on_gpu() else None)
