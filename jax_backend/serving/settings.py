"""Settings of the engine: the compiled shapes and the size of the KV cache."""

from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[str, int, int], None]  # (name of the next task, tasks done, all tasks)

SPECULATE = ("off", "lookup")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one engine.

    batch_sizes: compiled decode batch sizes, ascending; the largest is the maximum number of
    running sequences. batch_invariant: use only the batch sizes with bitwise identical results, so
    that no output depends on what else is running. num_pages, page_size: of the KV cache, the
    latter in tokens. chunk_sizes: compiled prefill chunk sizes, ascending. image_batch_sizes:
    compiled batch sizes of the vision encoder, ascending. max_logprobs: the maximum of `logprobs`.
    speculate: "lookup" to verify drafts (`jax_backend.serving.drafting`), or "off".
    """

    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    batch_invariant: bool = True
    num_pages: int = 128
    page_size: int = 64
    chunk_sizes: tuple[int, ...] = (32, 128)
    image_batch_sizes: tuple[int, ...] = (1, 2, 4)
    max_logprobs: int = 20
    speculate: str = "lookup"

    def __post_init__(self) -> None:
        for name in "batch_sizes", "chunk_sizes", "image_batch_sizes":
            sizes = getattr(self, name)
            if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 1:
                raise ValueError(f"{name}: must be ascending positive sizes, got {sizes}")
        if self.image_batch_sizes[0] != 1:
            raise ValueError(f"image_batch_sizes: must begin with 1, got {self.image_batch_sizes}")
        if self.speculate not in SPECULATE:
            raise ValueError(f"speculate: must be one of {SPECULATE}, got {self.speculate!r}")

    @property
    def slots(self) -> int:
        return self.batch_sizes[-1]
