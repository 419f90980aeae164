"""Launch policy: which launches a step has, and of what size. Plain Python.

A step has at most one prefill launch, and one decode row for every running sequence. So prompts are
prefilled as fast as the device can, at the latency of one prefill launch per output token of the
sequences that run meanwhile. `python -m benchmarks.simulation` evaluates this policy.

The rows are decoded in the prefill launch if that is expected to take less time than two launches.
The time of a launch is modeled as its rows, padding included, and `launch_cost` more: reading the
weights takes as long as the products of that many rows.
"""

from collections.abc import Sequence

from jax_backend.serving.scheduling.plan import PrefillSegment
from jax_backend.serving.settings import PrefillLayout


def mixing_pays(layout: PrefillLayout, num_segments: int, batch_size: int, slots: int) -> bool:
    """Return whether one launch of segments and rows is expected to take less time than two.

    batch_size: that of the rows in a launch of their own; in a mixed launch it is `slots`.
    """
    if not num_segments:
        return False
    size = layout.segment_size
    mixed = smallest(layout.mixed_sizes, num_segments) * size + slots
    separate = smallest(layout.sizes, num_segments) * size + layout.launch_cost + batch_size
    return mixed < separate


def launch_size(layout: PrefillLayout, segments: Sequence[PrefillSegment], is_mixed: bool) -> int:
    """Return the compiled size of a prefill launch in segments, 0 without segments."""
    if not segments:
        return 0
    return smallest(layout.mixed_sizes if is_mixed else layout.sizes, segments[-1].index + 1)


def smallest(sizes: Sequence[int], count: int) -> int:
    """Return the smallest of ascending sizes that holds `count`."""
    return next(size for size in sizes if size >= count)
