"""Ahead-of-time compilation: every shape that a request can need is run once at start-up."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jax_backend.numerics.branches import all_static_flags
from jax_backend.serving.batch_invariance import (
    empty_segments,
    no_images,
    select_batch_sizes,
    select_image_batch_sizes,
    select_layout,
)
from jax_backend.serving.executor import Executor
from jax_backend.serving.prefill import merge_embeddings
from jax_backend.serving.scheduling.plan import DecodeRow, RequestState, Sequence, StepPlan
from jax_backend.serving.settings import Progress
from jax_backend.serving.uploads import int32s, pack_batch
from reference.params import CompletionParams
from reference.request import Request

Task = tuple[str, Callable[[], Any]]


def warm_up(executor: Executor, progress: Progress) -> None:
    """Compile everything, then select the batch sizes that are used."""
    tasks = warmup_tasks(executor)
    for i, (name, task) in enumerate(tasks):
        progress(name, i, len(tasks))
        jax.block_until_ready(task())
    if executor.settings.batch_invariant:
        select_batch_sizes(executor)
        executor.layout = select_layout(executor)
        if executor.vision is not None:
            select_image_batch_sizes(executor)
    progress("ready", len(tasks), len(tasks))


def warmup_tasks(executor: Executor) -> list[Task]:
    """Return what is to be run, by name."""
    request = Request.of([0], CompletionParams(temperature=0, logprobs=0))
    state = RequestState(0, request, lambda event: None, 1, [])
    sequence = Sequence(state, 0, slot=0)
    set_up = StepPlan(page_copies=((0, 0),), admitted=(sequence,))
    tasks: list[Task] = [("slots", partial(executor.start, set_up))]
    layout = executor.layout
    for count in layout.sizes:
        name = f"prefill of {count * layout.segment_size} tokens"
        tasks.append((name, partial(run_prefill, executor, count)))
    for size in executor.batch_sizes:
        tasks.append((f"batches of {size}", partial(run_batch, executor, sequence, size)))
    for count in layout.mixed_sizes:
        name = f"batches with prefill of {count * layout.segment_size} tokens"
        tasks.append((name, partial(run_prefill, executor, count, is_mixed=True)))
    if executor.vision is not None:
        for size in executor.settings.image_batch_sizes:
            tasks.append((f"batches of {size} images", partial(run_images, executor, size)))
    return tasks


def run_batch(executor: Executor, sequence: Sequence, batch_size: int) -> Any:
    """Run a decode batch of padding rows, with every combination of static flags."""
    row = DecodeRow(sequence, executor.pad_slot, 0, 0, ())
    batch = executor.pack((row,) * batch_size)
    logits = executor.decode_forward(batch, executor.images.no_images.get(batch_size))
    mask = executor.full_masks[batch_size]
    return [executor.sample_batch(batch, logits, mask, flags) for flags in all_static_flags()]


def run_prefill(executor: Executor, num_segments: int, is_mixed: bool = False) -> Any:
    """Run a prefill launch of padding, with log-probabilities. is_mixed: decode padding, too."""
    segments, slots = empty_segments(executor, num_segments), executor.settings.slots
    pages = executor.pages_per_sequence
    batch = pack_batch((), slots, pages, executor.pad_slot) if is_mixed else None
    _, hidden = executor.forward(batch, segments, no_images(executor, batch, segments))
    assert hidden is not None
    return executor.prompt_logprobs(hidden, segments.next_token)


def run_images(executor: Executor, batch_size: int) -> Any:
    """Encode a batch of images, and merge one into every size of chunk and batch."""
    assert executor.vision is not None
    side = executor.vision.image_size
    rows = executor.encode_images(np.zeros((batch_size, 3, side, side), np.float32))
    offsets = int32s(0, 0, 0)
    return [
        merge_embeddings(images, rows[0], *offsets) for images in executor.images.no_images.values()
    ]
