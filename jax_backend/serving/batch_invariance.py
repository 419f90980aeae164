"""Batch invariance: only launches that give bitwise identical results are used.

A matrix product of few rows may be summed in another order than one of many, depending on the
compiler, the platform and the shape. So at start-up each batch size is tested, and each size of a
prefill launch, with a token in several places.
"""

import logging
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jax_backend.model.llama import Llama
from jax_backend.model.products import ROWS, product
from jax_backend.model.transfer import to_host
from jax_backend.numerics.branches import all_static_flags
from jax_backend.platform import on_gpu
from jax_backend.serving.executor import Executor
from jax_backend.serving.program import LaunchImages
from jax_backend.serving.settings import PrefillLayout
from jax_backend.serving.state import BatchInputs, SegmentInputs, fill_page
from jax_backend.serving.uploads import pack_batch, pack_segments

logger = logging.getLogger(__name__)


def single_row_differs(model: Llama, batch_sizes: tuple[int, ...]) -> bool:
    """Return whether the products of one row have other bits than those of two, so that batch size
    1 need not be compiled: on a CPU they are matrix-vector products.
    """
    if batch_sizes[0] > 1 or len(batch_sizes) == 1:
        return False
    single = product_bits(model, 1, ROWS)
    return single != product_bits(model, batch_sizes[1], model.column_block)


def select_column_block(model: Llama, batch_sizes: tuple[int, ...]) -> int:
    """Return the largest column block of the products of decode rows with which all batch sizes
    from 2 on have the same bits; ROWS if there is none.

    The bits of a column product depend on its number of rows, on some CPUs from 32 rows on. Those
    of x Wᵀ do not, but few rows take up to twice as long.
    """
    sizes = [size for size in batch_sizes if size > 1]
    block = model.column_block
    while block > 1:
        if len({product_bits(model, size, block) for size in sizes}) <= 1:
            return block
        block //= 2
    return ROWS


def product_bits(model: Llama, rows: int, column_block: int) -> bytes:
    """Return the bits of the products of one layer and of the logits, in the first and the last of
    equal rows.
    """
    layer, head = model.layers[0], model.embed_tokens if model.lm_head is None else model.lm_head
    linears = nnx.List([layer.qkv_proj, layer.o_proj, layer.gate_up_proj, layer.down_proj])
    graph, state = nnx.split(linears)
    weights, dtype = head.get_value(), model.norm.get_value().dtype

    @jax.jit
    def products(state: nnx.State, weights: Array) -> list[tuple[Array, Array]]:
        results = [
            linear.multiply(equal_rows(rows, linear.weight[...], dtype), column_block)
            for linear in nnx.merge(graph, state)
        ]
        results.append(product(equal_rows(rows, weights, dtype), weights, column_block))
        return [(y[0], y[-1]) for y in results]

    pairs = products(state, weights)
    return b"".join(to_host(row).tobytes() for pair in pairs for row in pair)


def equal_rows(count: int, weight: Array, dtype: jnp.dtype) -> Array:
    """Return `count` equal rows of arbitrary, fixed numbers, one for each input of a weight."""
    row = np.sin(37 * np.linspace(-2, 2, weight.shape[1], dtype=np.float32))
    return jnp.tile(jnp.asarray(row, dtype), (count, 1))


def select_batch_sizes(executor: Executor) -> None:
    """Drop the batch sizes whose results differ from those of the largest."""
    *smaller, largest = executor.batch_sizes
    expected = fingerprint(executor, largest)
    dropped = [size for size in smaller if fingerprint(executor, size) != expected]
    executor.batch_sizes = tuple(size for size in executor.batch_sizes if size not in dropped)
    if dropped:
        logger.info("batches of %s are not bitwise identical to %d: not used", dropped, largest)


def select_layout(executor: Executor) -> PrefillLayout:
    """Return the layout of prefill launches in which the results of a token depend neither on the
    size of the launch nor on its place in it.
    """
    layout, largest = executor.layout, executor.layout.sizes[-1]
    expected = prefill_fingerprint(executor, largest, 0)

    def is_same(count: int, is_mixed: bool = False) -> bool:
        places = {0, count // 2, count - 1}
        return all(prefill_fingerprint(executor, count, i, is_mixed) == expected for i in places)

    if not is_same(largest):
        logger.info("prefill: one prompt per launch, since its place changes the results")
        return replace(layout, sizes=(largest,), mixed_sizes=(), is_packed=False)
    slots = executor.settings.slots
    decoded = fingerprint(executor, slots)
    mixed = tuple(
        count
        for count in layout.mixed_sizes
        if is_same(count, is_mixed=True) and fingerprint(executor, slots, count) == decoded
    )
    sizes = tuple(count for count in layout.sizes if count == largest or is_same(count))
    logger.info(
        "prefill: prompts share launches of %s tokens; launches that also decode: %s",
        [count * layout.segment_size for count in sizes],
        [count * layout.segment_size for count in mixed] or "none",
    )
    return replace(layout, sizes=sizes, mixed_sizes=mixed)


def fingerprint(executor: Executor, batch_size: int, num_segments: int = 0) -> list[bytes]:
    """Return the bits of the log-probabilities, and of the keys and values in every layer, of four
    rows that are decoded one at a time: a first token in the first, the middle and the last row of
    the batch, and a token at long context, after arbitrary keys and values. num_segments: those of
    padding that share the launch.
    """
    executor.layers = fill_page(executor.layers, np.int32(1))
    # On a CPU two pages are as conclusive as a whole context; a GPU splits a long context.
    context = executor.context if on_gpu() else 2 * executor.settings.page_size
    last = min(executor.context, context) - 1
    values: list[Any] = []
    for i, position in enumerate((0, 0, 0, last)):
        row = min(i, 2) * (batch_size - 1) // 2
        batch = pack_batch((), batch_size, executor.pages_per_sequence, executor.pad_slot)
        batch.slot[row], batch.position[row], batch.page_table[row] = 0, position, 1
        batch.token[row] = (1 + i) * (executor.vocab_size - 1) // 5
        segments = empty_segments(executor, num_segments) if num_segments else None
        logits, _ = executor.forward(batch, segments, no_images(executor, batch, segments))
        assert logits is not None
        mask, flags = executor.full_masks[batch_size], all_static_flags()[-1]
        sampled = executor.sample_batch(batch, logits, mask, flags)
        values += [sampled.logprob[row], sampled.top[row]]
        values += [pages[1] for pages in jax.tree.leaves(executor.layers)]
    return [to_host(value).tobytes() for value in values]


def prefill_fingerprint(
    executor: Executor, num_segments: int, place: int, is_mixed: bool = False
) -> list[bytes]:
    """Return the bits of the log-probabilities, and of the keys and values in every layer, of two
    segments that are prefilled one at a time at a place in a launch: the first of a prompt, and a
    shorter one after arbitrary keys and values. is_mixed: whether padding is decoded, too.
    """
    executor.layers = fill_page(executor.layers, np.int32(1))
    size = executor.layout.segment_size
    context = min(executor.context, 2 * executor.settings.page_size) // size * size
    values: list[Any] = []
    for start, count in ((0, size), (max(0, context - size), max(1, size - 3))):
        inputs = empty_segments(executor, num_segments)
        tokens = 1 + np.arange(start, start + count) * 7 % (executor.vocab_size - 1)
        inputs.token[place, :count], inputs.next_token[place, :count] = tokens, tokens[::-1]
        inputs.start[place], inputs.num_tokens[place], inputs.page_table[place] = start, count, 1
        slots, pages = executor.settings.slots, executor.pages_per_sequence
        batch = pack_batch((), slots, pages, executor.pad_slot) if is_mixed else None
        _, hidden = executor.forward(batch, inputs, no_images(executor, batch, inputs))
        assert hidden is not None
        logprobs = executor.prompt_logprobs(hidden, inputs.next_token)
        rows = slice(place * size, place * size + count)
        values += [logprobs.logprob[rows], logprobs.top[rows]]
        values += [pages[1] for pages in jax.tree.leaves(executor.layers)]
    return [to_host(value).tobytes() for value in values]


def decoding_matches_prefill(executor: Executor) -> bool:
    """Return whether a token has the same keys and values, bit for bit, decoded or prefilled: at
    the end of a first segment, and of one after arbitrary keys and values.
    """
    executor.layers = fill_page(executor.layers, np.int32(1))
    size, count = executor.layout.segment_size, executor.layout.sizes[-1]
    context = min(executor.context, executor.settings.page_size)
    for start in {0, context - size}:
        inputs = empty_segments(executor, count)
        tokens = 1 + np.arange(start, start + size) * 7 % (executor.vocab_size - 1)
        inputs.token[0], inputs.start[0], inputs.num_tokens[0] = tokens, start, size
        inputs.page_table[0] = 1
        executor.forward(None, inputs, no_images(executor, None, inputs))
        prefilled = [to_host(pages[1]) for pages in jax.tree.leaves(executor.layers)]
        for batch_size in executor.batch_sizes:
            batch = pack_batch((), batch_size, executor.pages_per_sequence, executor.pad_slot)
            batch.slot[0], batch.position[0], batch.page_table[0] = 0, start + size - 1, 1
            batch.token[0] = tokens[-1]
            executor.forward(batch, None, no_images(executor, batch, None))
            decoded = [to_host(pages[1]) for pages in jax.tree.leaves(executor.layers)]
            if not all(map(np.array_equal, prefilled, decoded)):
                return False
    return True


def empty_segments(executor: Executor, num_segments: int) -> SegmentInputs:
    """Return a prefill launch without tokens."""
    size, pages = executor.layout.segment_size, executor.pages_per_sequence
    return pack_segments((), num_segments, size, pages)


def no_images(
    executor: Executor, batch: BatchInputs | None, segments: SegmentInputs | None
) -> LaunchImages:
    """Return the image embeddings of a launch without images."""
    of = executor.images.no_images
    return LaunchImages(
        None if batch is None else of.get(len(batch.slot)),
        None if segments is None else of.get(segments.token.size),
    )


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
        return to_host(executor.encode_images(pixels)[row]).tobytes()

    expected = encoded(1, 0)
    executor.images.batch_sizes = tuple(
        size
        for size in executor.images.batch_sizes
        if size == 1 or all(encoded(size, i) == expected for i in {0, size // 2, size - 1})
    )
    if len(executor.images.batch_sizes) < len(executor.settings.image_batch_sizes):
        logger.info("images are encoded in batches of %s only", executor.images.batch_sizes)
