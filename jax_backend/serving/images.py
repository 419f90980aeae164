"""Image embeddings on the device: encoded once, and cached until prefill has passed them."""

from collections.abc import Callable, Collection, Mapping

import numpy as np
from jax import Array

from jax_backend.model.llama import ImageEmbeddings
from jax_backend.serving.prefill import merge_embeddings
from jax_backend.serving.scheduling.plan import DecodeRow, PrefillSegment, RequestState
from jax_backend.serving.uploads import int32s
from reference.request import ImageSpan


class ImageEmbedder:
    """Encodes the images of requests.

    encode: from a batch of pixels to the embeddings of each image. batch_sizes: those that `encode`
    is called with, ascending. no_images: the embeddings of positions without images, by
    their number; empty for a text-only model.
    """

    def __init__(
        self,
        encode: Callable[[np.ndarray], tuple[Array, ...]],
        batch_sizes: tuple[int, ...],
        no_images: Mapping[int, ImageEmbeddings],
    ) -> None:
        self.encode, self.batch_sizes, self.no_images = encode, batch_sizes, no_images
        self._cache: dict[int, dict[int, Array]] = {}  # by request id and start of the span

    def of_segments(
        self, segments: Collection[PrefillSegment], segment_size: int, num_segments: int
    ) -> ImageEmbeddings | None:
        """Return the image embeddings within a prefill launch; drop those that no later position
        needs.
        """
        images = self.no_images.get(num_segments * segment_size)
        for segment in segments:
            state, start = segment.prefill.state, segment.start
            stop, row = start + segment.num_tokens, segment.index * segment_size
            for span in state.request.images_within(start, stop):
                embeddings = self._embeddings(state, span)
                first, last = max(span.start, start), min(span.stop, stop)
                offsets = int32s(first - span.start, row + first - start, last - first)
                images = merge_embeddings(images, embeddings, *offsets)
                if span.stop <= stop:
                    # Not `del`: while the engine closes, `submit` may release the request
                    # concurrently.
                    self._cache.get(state.request_id, {}).pop(span.start, None)
        return images

    def of_batch(self, rows: Collection[DecodeRow], batch_size: int) -> ImageEmbeddings | None:
        """Return the image embeddings within a decode batch: a prompt may end with an image."""
        if not self.no_images:
            return None  # a text-only model
        images = self.no_images.get(batch_size)
        for i, row in enumerate(rows):
            state = row.sequence.state
            for span in state.request.images_within(row.position, row.position + 1):
                embeddings = self._embeddings(state, span)
                offsets = int32s(row.position - span.start, i, 1)
                images = merge_embeddings(images, embeddings, *offsets)
        return images

    def _embeddings(self, state: RequestState, span: ImageSpan) -> Array:
        """Return the embeddings of an image. On a miss, those after it in the prompt are encoded in
        the same batch.
        """
        cached = self._cache.setdefault(state.request_id, {})
        if span.start not in cached:
            ahead = [s for s in state.request.images if s.start >= span.start]
            batch = ahead[: self.batch_sizes[-1]]
            size = next(size for size in self.batch_sizes if size >= len(batch))
            pixels = np.zeros((size, *span.image.pixels.shape), np.float32)
            for i, s in enumerate(batch):
                pixels[i] = s.image.pixels
            rows = self.encode(pixels)
            cached |= {s.start: r for s, r in zip(batch, rows, strict=False)}
        return cached[span.start]

    def release(self, request_id: int) -> None:
        """Drop all embeddings of a request."""
        self._cache.pop(request_id, None)
