"""The time of a step of one replica, as in `benchmarks.simulation`."""

from dataclasses import dataclass

from jax_backend.launch import batch_size_buckets
from jax_backend.serving.scheduling.launches import smallest
from jax_backend.serving.scheduling.plan import StepPlan
from jax_backend.serving.settings import PrefillLayout

SEGMENT_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Costs:
    """A launch takes (launch_cost + rows) · row_seconds. Attention of a decode row takes
    page_seconds for each page of its context. slots: maximum number of running sequences.
    num_pages: of the KV cache, of page_size tokens. The defaults fit 134M parameters in float32 on
    two cores.
    """

    slots: int = 32
    num_pages: int = 1024
    page_size: int = 64
    row_seconds: float = 0.95e-3
    launch_cost: int = 26
    page_seconds: float = 0.4e-3

    @property
    def layout(self) -> PrefillLayout:
        return PrefillLayout(
            segment_size=SEGMENT_SIZE,
            sizes=(1, 4, 8),
            launch_cost=self.launch_cost,
            launches_per_decode=4,
        )

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        return batch_size_buckets(self.slots)

    def seconds(self, plan: StepPlan) -> float:
        """Return the time of a step. Padding counts."""
        rows = 0
        if plan.segments:
            rows += self.launch_cost + plan.num_segments * SEGMENT_SIZE
        if plan.rows:
            rows += self.launch_cost + smallest(self.batch_sizes, len(plan.rows))
        pages = sum(len(row.pages) for row in plan.rows)
        return rows * self.row_seconds + pages * self.page_seconds
