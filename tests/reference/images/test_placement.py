"""Expansion of image placeholders, and the image processor."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.images import placement
from reference.images.limits import ImageError, ImageLimits
from reference.images.placement import (
    ImageCountMismatch,
    ImageProcessor,
    ImagesUnsupported,
    TooManyImages,
)
from reference.images.preprocessor import Preprocessor
from reference.request import ImageSpan
from reference.stopping import ContextLengthExceeded
from tests.support.image_files import data_uri, png

TOKEN, TOKENS_PER_IMAGE = 9, 3
PROCESSOR = ImageProcessor(
    preprocessor=Preprocessor.from_json({"size": 4, "crop_size": 4}),
    image_token_id=TOKEN,
    tokens_per_image=TOKENS_PER_IMAGE,
    limits=ImageLimits(images=5, pixels=2000),
)


def gray(value: int) -> str:
    """The URI of one gray pixel."""
    return data_uri(png(1, 1, bytes([0, value, value, value])))


def expand(prompts: list[list[int]], count: int, context: int = 100) -> list[Any]:
    """Expand prompts with `count` different images."""
    data = {"image": [gray(i) for i in range(count)]}
    return placement.expand_placeholders(prompts, data, PROCESSOR, context)


@given(st.lists(st.lists(st.integers(0, TOKEN), max_size=6), min_size=1, max_size=3))
def test_images_take_the_placeholders_in_order(prompts: list[list[int]]) -> None:
    count = sum(ids.count(TOKEN) for ids in prompts)
    if count > PROCESSOR.limits.images:
        with pytest.raises(TooManyImages):
            expand(prompts, count)
        return
    digests = []
    for ids, (expanded, spans) in zip(prompts, expand(prompts, count), strict=True):
        assert [t for t in expanded if t != TOKEN] == [t for t in ids if t != TOKEN]
        assert len(expanded) == len(ids) + ids.count(TOKEN) * (TOKENS_PER_IMAGE - 1)
        assert len(spans) == ids.count(TOKEN)
        positions = [i for span in spans for i in range(span.start, span.stop)]
        assert positions == [i for i, t in enumerate(expanded) if t == TOKEN]
        digests += [span.image.digest for span in spans]
    assert digests == [PROCESSOR.process(gray(i)).digest for i in range(count)]


def test_too_many_images_are_refused() -> None:
    with pytest.raises(TooManyImages, match="6 images are more than the maximum of 5"):
        expand([[TOKEN] * 6], 6)


@pytest.mark.parametrize(
    ("count", "message"), [(0, "0 images"), (1, "1 image, and"), (3, "3 images")]
)
def test_image_count_mismatch_is_refused(count: int, message: str) -> None:
    with pytest.raises(ImageCountMismatch, match=message):
        expand([[TOKEN, 1], [TOKEN]], count)


def test_prompts_without_images() -> None:
    for data in None, {}, {"image": []}:
        assert placement.expand_placeholders([[1, 2]], data, PROCESSOR, 3) == [([1, 2], ())]
        assert placement.expand_placeholders([[1, TOKEN]], data, None, 3) == [([1, TOKEN], ())]


def test_text_only_model_refuses_images() -> None:
    with pytest.raises(ImagesUnsupported):
        placement.expand_placeholders([[1, TOKEN]], {"image": [gray(1)]}, None, 100)


def test_image_tokens_count_in_the_context() -> None:
    assert len(expand([[1, TOKEN, 2]], 1, context=6)[0][0]) == 5
    with pytest.raises(ContextLengthExceeded):
        expand([[1, TOKEN, 2]], 1, context=5)


def test_error_names_the_image() -> None:
    data = {"image": [gray(1), "data:image/png;base64,AAAA"]}
    with pytest.raises(ImageError, match=r"^data\.image\[1\]: not a complete"):
        placement.expand_placeholders([[TOKEN, TOKEN]], data, PROCESSOR, 100)


def test_image_that_would_be_resized_beyond_the_limit_is_refused() -> None:
    """An image of 2000 × 1 pixels, whose shorter side is resized to 4."""
    rows = bytes(1 + 3 * 2000)
    with pytest.raises(ImageError, match="too long or too wide"):
        PROCESSOR.process(data_uri(png(2000, 1, rows)))


def test_digest_depends_on_preprocessed_pixels_only() -> None:
    larger = data_uri(png(2, 2, (b"\0" + bytes([7] * 6)) * 2))
    small, equal, different = map(PROCESSOR.process, (gray(7), larger, gray(8)))
    assert small.digest == equal.digest != different.digest
    np.testing.assert_array_equal(small.pixels, equal.pixels)
    assert ImageSpan(small, 0, TOKENS_PER_IMAGE).image is small
