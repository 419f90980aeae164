"""Splits of the context, for kernels on a GPU: if there are too few queries to keep it busy,
several programs attend to parts of the keys of a query (Dao et al., "Flash-Decoding for
long-context inference", 2023).

Their number depends on shapes only, so the bits of a row do not depend on the other rows of the
batch. They may depend on the batch size: the batch sizes that differ are not used together
(`jax_backend.serving.batch_invariance`).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

TARGET_PROGRAMS = 1024  # that keep a GPU busy: a few for each multiprocessor
MIN_SPLIT = 128  # positions

# For each of Z splits: the highest score of each query, the sum of the weights relative to it, and
# the weighted sum of the values.
SplitSums = tuple[Float[Array, "B K Z R"], Float[Array, "B K Z R"], Float[Array, "B K Z R H"]]


def split_size(programs: int, blocks: int, block_size: int, may_split: bool) -> tuple[int, int]:
    """Return the number of blocks of keys of a split, and the number of splits.

    programs: without splits. blocks: of the longest context. may_split: false for prefill, which
    has enough queries, and whose results must not depend on the number of rows.
    """
    splits = max(1, TARGET_PROGRAMS // programs) if may_split else 1
    size = max(MIN_SPLIT // block_size, -(-blocks // splits))
    return size, -(-blocks // size)


def combine_splits(
    highest_BKZR: Float[Array, "B K Z R"],
    total_BKZR: Float[Array, "B K Z R"],
    out_BKZRH: Float[Array, "B K Z R H"],
) -> Float[Array, "B K R H"]:
    """Return the weighted mean of the values over all splits. A split that is masked completely has
    the weight 0.
    """
    share_BKZR = jnp.exp(highest_BKZR - highest_BKZR.max(axis=2, keepdims=True))
    total_BKR = (total_BKZR * share_BKZR).sum(axis=2)
    return (out_BKZRH * share_BKZR[..., None]).sum(axis=2) / total_BKR[..., None]
