"""Launch policy: which launches a step has, and of what size. Plain Python.

A step has at most one prefill launch, and one decode row for every running sequence. While more
prompts wait than fit a launch, only one of `launches_per_decode` steps decodes: a small batch takes
nearly the time of a large one, for fewer tokens. So prompts are prefilled as fast as the device
can, and a running sequence waits for at most that many launches between two tokens.
`python -m benchmarks.simulation` evaluates this policy.

Otherwise the rows are decoded in the prefill launch if that is expected to take less time than two.
The time of a launch is modeled as its rows, padding included, and `launch_cost` more: reading the
weights takes as long as the products of that many rows.
"""

from collections.abc import Sequence

from jax_backend.serving.scheduling.plan import PrefillSegment, num_pending
from jax_backend.serving.scheduling.prefill_queue import PrefillQueue
from jax_backend.serving.settings import PrefillLayout


class LaunchPolicy:
    """The policy for one engine. batch_sizes: of decode launches; a mixed one has the largest.

    num_waited: how many steps there were since the last one that decoded.
    """

    def __init__(self, layout: PrefillLayout, batch_sizes: Sequence[int]) -> None:
        self.layout, self.batch_sizes = layout, batch_sizes
        self.num_waited = 0

    def decode_may_wait(self, prefills: PrefillQueue, free_slots: int) -> bool:
        """Return whether more segments could be prefilled than the largest launch holds, given
        pages for them, and the running sequences have not waited for too many launches.
        """
        if self.num_waited + 1 >= self.layout.launches_per_decode:
            return False
        startable, free_slots = prefills.active[-1:], free_slots - num_pending(prefills.active)
        for prefill in prefills.waiting:
            if free_slots <= 0:
                break
            startable.append(prefill)
            free_slots -= len(prefill.sequences)
        size = self.layout.segment_size
        count = sum(-(-(prefill.end - prefill.position) // size) for prefill in startable)
        return count > self.layout.sizes[-1]

    def record(self, waits: bool) -> bool:
        """Count a step in which the running sequences wait, or do not. Return whether they do."""
        self.num_waited = self.num_waited + 1 if waits else 0
        return waits

    def limit(self, num_rows: int, waits: bool) -> int:
        """Return the maximum number of segments of the next launch."""
        return (self.layout.mixed_sizes if self._may_mix(num_rows, waits) else self.layout.sizes)[
            -1
        ]

    def mixes(self, num_segments: int, num_rows: int, waits: bool) -> bool:
        """Return whether one launch of segments and rows is expected to take less time than two."""
        if not (num_segments and self._may_mix(num_rows, waits)):
            return False
        size, layout = self.layout.segment_size, self.layout
        mixed = smallest(layout.mixed_sizes, num_segments) * size + self.batch_sizes[-1]
        decode = layout.launch_cost + smallest(self.batch_sizes, num_rows)
        return mixed < smallest(layout.sizes, num_segments) * size + decode

    def launch_size(self, segments: Sequence[PrefillSegment], is_mixed: bool) -> int:
        """Return the compiled size of a prefill launch in segments, 0 without segments."""
        if not segments:
            return 0
        sizes = self.layout.mixed_sizes if is_mixed else self.layout.sizes
        return smallest(sizes, segments[-1].index + 1)

    def _may_mix(self, num_rows: int, waits: bool) -> bool:
        return bool(num_rows and self.layout.mixed_sizes and not waits)


def smallest(sizes: Sequence[int], count: int) -> int:
    """Return the smallest of ascending sizes that holds `count`."""
    return next(size for size in sizes if size >= count)
