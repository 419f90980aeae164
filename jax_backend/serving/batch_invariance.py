"""Batch invariance: only batch sizes that give bitwise identical results are used.

A matrix product of few rows may be summed in another order than one of many, depending on the
compiler, the platform and the shape. So each batch size is tested at start-up.
"""

import logging
from typing import Any

import jax
import numpy as np

from jax_backend.numerics.branches import all_static_flags
from jax_backend.platform import on_gpu
from jax_backend.serving.executor import Executor
from jax_backend.serving.state import REPEAT_LAST, BatchInputs, fill_page

logger = logging.getLogger(__name__)


def select_batch_sizes(executor: Executor) -> None:
    """Drop the batch sizes whose results differ from those of the largest."""
    *smaller, largest = executor.batch_sizes
    expected = fingerprint(executor, largest)
    dropped = [size for size in smaller if fingerprint(executor, size) != expected]
    executor.batch_sizes = tuple(size for size in executor.batch_sizes if size not in dropped)
    if dropped:
        logger.info("batches of %s are not bitwise identical to %d: not used", dropped, largest)


def fingerprint(executor: Executor, batch_size: int) -> list[bytes]:
    """Return the bits of the log-probabilities, and of the keys and values in every layer, of four
    rows that are decoded one at a time: a first token in the first, the middle and the last row of
    the batch, and a token at long context, after arbitrary keys and values.
    """
    executor.layers = fill_page(executor.layers, np.int32(1))
    # On a CPU two pages are as conclusive as a whole context; a GPU splits a long context.
    context = executor.context if on_gpu() else 2 * executor.settings.page_size
    last = min(executor.context, context) - 1
    values: list[Any] = []
    for i, position in enumerate((0, 0, 0, last)):
        row = min(i, 2) * (batch_size - 1) // 2
        batch = BatchInputs(
            slot=np.full(batch_size, executor.pad_slot, np.int32),
            position=np.zeros(batch_size, np.int32),
            token=np.full(batch_size, REPEAT_LAST, np.int32),
            page_table=np.zeros((batch_size, executor.pages_per_sequence), np.int32),
        )
        batch.slot[row], batch.position[row], batch.page_table[row] = 0, position, 1
        batch.token[row] = (1 + i) * (executor.vocab_size - 1) // 5
        logits = executor.decode_forward(batch, executor.images.no_images.get(batch_size))
        mask, flags = executor.full_masks[batch_size], all_static_flags()[-1]
        sampled = executor.sample_batch(batch, logits, mask, flags)
        values += [sampled.logprob[row], sampled.top[row]]
        values += [pages[1] for pages in jax.tree.leaves(executor.layers)]
    return [np.asarray(value).tobytes() for value in values]


def select_image_batch_sizes(executor: Executor) -> None:
    """Drop the batch sizes of the vision encoder in which the embeddings of an image depend on the
    batch size or on its row.
    """
    assert executor.vision is not None
    side = executor.vision.image_size
    image = np.sin(37 * np.linspace(-2, 2, 3 * side**2, dtype=np.float32)).reshape(3, side, side)

    def encoded(size: int, row: int) -> bytes:
        pixels = np.zeros((size, *image.shape), np.float32)
        pixels[row] = image
        return np.asarray(executor.encode_images(pixels)[row]).tobytes()

    expected = encoded(1, 0)
    executor.images.batch_sizes = tuple(
        size
        for size in executor.images.batch_sizes
        if size == 1 or all(encoded(size, i) == expected for i in {0, size // 2, size - 1})
    )
    if len(executor.images.batch_sizes) < len(executor.settings.image_batch_sizes):
        logger.info("images are encoded in batches of %s only", executor.images.batch_sizes)
