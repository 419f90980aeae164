"""Settings of the engine: the compiled shapes and the size of the KV cache."""

from collections.abc import Callable
from dataclasses import dataclass

from jax_backend.platform import platform

CPU_LAUNCH_COST, LAUNCH_COST = 26, 256  # in rows: the time that reading the weights takes
CPU_LAUNCHES_PER_DECODE = 4

Progress = Callable[[str, int, int], None]  # (name of the next task, tasks done, all tasks)

SPECULATE = ("off", "lookup")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one engine.

    batch_sizes: compiled decode batch sizes, ascending; the largest is the maximum number of
    running sequences. batch_invariant: use only the batch sizes with bitwise identical results, so
    that no output depends on what else is running. num_pages, page_size: of the KV cache, the
    latter in tokens. prefill_sizes: compiled prefill launch sizes in tokens, ascending multiples of
    segment_size, which divides page_size. image_batch_sizes: compiled batch sizes of the vision
    encoder, ascending. max_logprobs: the maximum of `logprobs`. speculate: "lookup" to verify
    drafts (`jax_backend.serving.drafting`), or "off".
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    batch_invariant: bool = True
    num_pages: int = 128
    page_size: int = 64
    prefill_sizes: tuple[int, ...] = (32, 128, 256)
    segment_size: int = 32
    image_batch_sizes: tuple[int, ...] = (1, 2, 4)
    max_logprobs: int = 20
    speculate: str = "lookup"

    def __post_init__(self) -> None:
        for name in "batch_sizes", "prefill_sizes", "image_batch_sizes":
            sizes = getattr(self, name)
            if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1:
                raise ValueError(f"{name}: must be ascending positive sizes, got {sizes}")
        if any(size % self.segment_size for size in (*self.prefill_sizes, self.page_size)):
            raise ValueError(
                f"segment_size: must divide page_size {self.page_size} and all prefill_sizes "
                f"{self.prefill_sizes}, got {self.segment_size}"
            )
        if self.image_batch_sizes[0] != 1:
            raise ValueError(f"image_batch_sizes: must begin with 1, got {self.image_batch_sizes}")
        if self.speculate not in SPECULATE:
            raise ValueError(f"speculate: must be one of {SPECULATE}, got {self.speculate!r}")

    @property
    def slots(self) -> int:
        return self.batch_sizes[-1]


@dataclass(frozen=True, kw_only=True)
class PrefillLayout:
    """Layout of prefill launches: the tokens of several prompts, in segments of `segment_size`
    consecutive tokens of one prompt each.

    sizes: compiled launch sizes in segments, ascending. mixed_sizes: those of launches that decode
    the running sequences, too, padded to `slots`; empty if no launch does both. is_packed: whether
    any segment may be anywhere in a launch; otherwise a launch has one prompt, and the place of a
    segment in its launch depends only on its place in the prompt. launch_cost: of a launch without
    rows, in rows. launches_per_decode: the maximum number of prefill launches for which the running
    sequences wait (for both: `jax_backend.serving.scheduling.launches`).
    """

    segment_size: int
    sizes: tuple[int, ...]
    mixed_sizes: tuple[int, ...] = ()
    is_packed: bool = True
    launch_cost: int = 26
    launches_per_decode: int = 1


def prefill_layout(settings: Settings) -> PrefillLayout:
    """Return the layout with all compiled sizes. A mixed launch has about as many rows as one that
    only prefills: its batch takes the place of the last segments. On a CPU decode rows are
    multiplied in another form than prefill, so in batch-invariant mode no launch does both.
    """
    size = settings.segment_size
    sizes = tuple(tokens // size for tokens in settings.prefill_sizes)
    of_batch = -(-settings.slots // size)
    on_cpu = platform() == "cpu"
    may_mix = not (on_cpu and settings.batch_invariant)
    return PrefillLayout(
        segment_size=size,
        sizes=sizes,
        mixed_sizes=tuple(n - of_batch for n in sizes[1:] if n > of_batch and may_mix),
        launch_cost=CPU_LAUNCH_COST if on_cpu else LAUNCH_COST,
        launches_per_decode=CPU_LAUNCHES_PER_DECODE if on_cpu else 1,
    )
