"""A launch that decodes and prefills computes what two launches do, up to rounding."""

import jax
import numpy as np

from conformance.parity.harness.tolerance import assert_near
from jax_backend.model.checkpoint import load
from jax_backend.serving.batch_invariance import empty_segments, no_images
from jax_backend.serving.executor import Executor
from jax_backend.serving.settings import Settings
from jax_backend.serving.state import BatchInputs, SegmentInputs
from jax_backend.serving.uploads import pack_batch
from reference.bundle import Bundle

SETTINGS = Settings(
    batch_sizes=(2,),
    batch_invariant=False,
    num_pages=8,
    page_size=32,
    prefill_sizes=(16, 64),
    segment_size=16,
)


def segments(executor: Executor, prompts: dict[int, list[int]]) -> SegmentInputs:
    """Return a launch with the first segment of prompts, by the page that they are written to."""
    inputs = empty_segments(executor, executor.layout.mixed_sizes[-1])
    for i, (page, prompt) in enumerate(prompts.items()):
        inputs.token[i, : len(prompt)] = prompt
        inputs.num_tokens[i], inputs.page_table[i] = len(prompt), page
    return inputs


def test_mixed_launch_equals_two(spec: Bundle) -> None:
    model = load(spec.checkpoint.directory, context=64)
    executor = Executor(model, frozenset(), spec.vocabulary, SETTINGS)
    assert executor.layout.mixed_sizes
    batch = pack_batch((), 2, executor.pages_per_sequence, executor.pad_slot)
    batch.slot[0], batch.position[0], batch.token[0], batch.page_table[0] = 0, 9, 7, 1

    def run(batch: BatchInputs | None, inputs: SegmentInputs | None) -> tuple[object, object]:
        return executor.forward(batch, inputs, no_images(executor, batch, inputs))

    context = segments(executor, {1: list(range(3, 12))})
    late = segments(executor, {2: list(range(20, 33)), 3: [5, 6]})
    run(None, context)
    separate_logits, _ = run(batch, None)
    _, separate_hidden = run(None, late)
    separate_pages = [np.asarray(pages) for pages in jax.tree.leaves(executor.layers)]
    run(None, context)
    logits, hidden = run(batch, late)
    assert_near(np.asarray(logits)[0], np.asarray(separate_logits)[0])
    for i, count in enumerate((13, 2)):
        assert_near(np.asarray(hidden)[i, :count], np.asarray(separate_hidden)[i, :count])
    for mixed, separate in zip(jax.tree.leaves(executor.layers), separate_pages, strict=True):
        assert_near(np.asarray(mixed)[1:4], separate[1:4])
