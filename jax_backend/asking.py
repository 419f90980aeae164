"""What is computed only where some row of a batch asks for it."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Bool, PyTree

from jax_backend.platform import on_gpu


def if_asked(
    asked: Bool[Array, "B"],
    computed: Callable[[], PyTree[Array]],
    otherwise: Callable[[], PyTree[Array]],
) -> PyTree[Array]:
    """`computed()` if any row asks, else `otherwise()`."""
    return jax.lax.cond(asked.any(), computed, otherwise)


def if_asked_or_free(
    asked: Bool[Array, "B"],
    computed: Callable[[], PyTree[Array]],
    otherwise: Callable[[], PyTree[Array]],
) -> PyTree[Array]:
    """The same, of a pass or two over the logits that is nothing to a row which does not ask. On a
    GPU it is made in any case: there a branch is taken by the host, which has to wait for the
    device, and that takes longer than the pass.
    """
    return computed() if on_gpu() else if_asked(asked, computed, otherwise)
