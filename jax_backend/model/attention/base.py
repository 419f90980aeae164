"""The interface of attention over a paged KV cache, which each platform implements in its own file.

The keys and values of a layer are in pages of S positions each. Position j of batch row b is in
page `page_tables_BM[b, j // S]`, at offset j mod S. Page 0 is the null page, which belongs to no
sequence: padding is written there. The layout of a page depends on the platform.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from reference.model.config import LlamaConfig

Pages = PyTree[Array]  # the pages of one layer: arrays whose first axis is the page

PAGE_SIZE = 64  # positions
MASK_VALUE = -1e30  # finite, so that a block with every position masked changes nothing


class KV(NamedTuple):
    """Pages of keys and pages of values, the layout of CPUs and GPUs."""

    k: Float[Array, "P K S H"]
    v: Float[Array, "P K S H"]


@dataclass(frozen=True)
class Attention:
    """Implementation for one platform. It is a static argument: each one is compiled separately.

    empty(config, count, size, dtype): allocate `count` pages of `size` positions, page 0 included.
    Raises ValueError, naming the field, if the platform cannot serve the model.

    write(pages, k_BTKH, v_BTKH, page_tables_BM, positions_BT, written_BT): store keys and values in
    their pages. Those with `written` False go to page 0.

    attend(q_BTNH, pages, page_tables_BM, positions_BT, window): compute softmax(q·k / √H) v,
    (B, T, N, H), with causal masking, over the last `window` positions only unless it is None. The
    positions of a row count up by one. Padding comes last and repeats the first position; its
    output is ignored. The output of a row depends neither on other rows nor on cache content beyond
    its newest position, NaN included.

    heads_axis: the axis of the KV heads in a page array.

    page_size(rows, context): choose the positions of a page, for launches of up to `rows` sequences
    of up to `context` tokens. Raises ValueError, naming the field, if none is possible.
    """

    empty: Callable[[LlamaConfig, int, int, jnp.dtype], Pages]
    write: Callable[[Pages, Array, Array, Array, Array, Array], Pages]
    attend: Callable[[Array, Pages, Array, Array, int | None], Array]
    heads_axis: int = 1
    page_size: Callable[[int, int], int] = lambda rows, context: PAGE_SIZE


def padded(x: Array, shape: tuple[int, ...]) -> Array:
    """Pad x with zeros at the end of every axis, for kernels that take only some shapes."""
    return jnp.pad(x, [(0, new - old) for old, new in zip(x.shape, shape, strict=True)])
