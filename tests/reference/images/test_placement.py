"""Images in prompts: which placeholder each takes, and what it is in the model."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.images import placement
from reference.images.decoding import ImageError, ImageLimits
from reference.images.placement import (
    ImageCountMismatch,
    ImageProcessor,
    ImagesUnsupported,
    TooManyImages,
)
from reference.images.preprocessor import Preprocessor
from reference.request import ImageSpan
from reference.stopping import ContextLengthExceeded
from tests.reference.images.test_decoding import png, uri

TOKEN, ROWS = 9, 3
SIGHT = ImageProcessor(
    preprocessor=Preprocessor.from_json({"size": 4, "crop_size": 4}),
    token=TOKEN,
    rows=ROWS,
    limits=ImageLimits(images=5, pixels=2000),
)


def colour(value: int) -> str:
    return uri(png(1, 1, bytes([0, value, value, value])))


def placed(prompts: list[list[int]], count: int, context: int = 100) -> list[Any]:
    data = {"image": [colour(i) for i in range(count)]}
    return placement.expand_placeholders(prompts, data, SIGHT, context)


@given(st.lists(st.lists(st.integers(0, TOKEN), max_size=6), min_size=1, max_size=3))
def test_images_take_the_placeholders_in_order(prompts: list[list[int]]) -> None:
    count = sum(ids.count(TOKEN) for ids in prompts)
    if count > SIGHT.limits.images:
        with pytest.raises(TooManyImages):
            placed(prompts, count)
        return
    shown = []
    for ids, (expanded, found) in zip(prompts, placed(prompts, count), strict=True):
        assert [t for t in expanded if t != TOKEN] == [t for t in ids if t != TOKEN]
        assert len(expanded) == len(ids) + ids.count(TOKEN) * (ROWS - 1)
        assert len(found) == ids.count(TOKEN)
        inside = [i for p in found for i in range(p.start, p.stop)]
        assert inside == [i for i, t in enumerate(expanded) if t == TOKEN]
        shown += [p.image.digest for p in found]
    assert shown == [SIGHT.image(colour(i)).digest for i in range(count)]


def test_more_images_than_are_taken_are_refused() -> None:
    with pytest.raises(TooManyImages, match="6 images are more than the 5"):
        placed([[TOKEN] * 6], 6)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 images"), (1, "1 image, and"), (3, "3 images")]
)
def test_another_number_of_images_is_refused(count: int, words: str) -> None:
    with pytest.raises(ImageCountMismatch, match=words):
        placed([[TOKEN, 1], [TOKEN]], count)


def test_no_images_for_no_placeholders_is_fine() -> None:
    for data in None, {}, {"image": []}:
        assert placement.expand_placeholders([[1, 2]], data, SIGHT, 3) == [([1, 2], ())]
        assert placement.expand_placeholders([[1, TOKEN]], data, None, 3) == [([1, TOKEN], ())]


def test_a_model_that_reads_text_only_refuses_images() -> None:
    with pytest.raises(ImagesUnsupported):
        placement.expand_placeholders([[1, TOKEN]], {"image": [colour(1)]}, None, 100)


def test_an_image_counts_as_its_places_in_the_context() -> None:
    assert len(placed([[1, TOKEN, 2]], 1, context=6)[0][0]) == 5
    with pytest.raises(ContextLengthExceeded):
        placed([[1, TOKEN, 2]], 1, context=5)


def test_an_error_says_which_image() -> None:
    data = {"image": [colour(1), "data:image/png;base64,AAAA"]}
    with pytest.raises(ImageError, match=r"^data\.image\[1\]: not a whole"):
        placement.expand_placeholders([[TOKEN, TOKEN]], data, SIGHT, 100)


def test_a_picture_that_would_grow_without_end_is_refused() -> None:
    """Two thousand pixels in a row, whose shorter side is to become four."""
    rows = bytes(1 + 3 * 2000)
    with pytest.raises(ImageError, match="too long or too wide"):
        SIGHT.image(uri(png(2000, 1, rows)))


def test_images_are_told_apart_by_what_the_model_sees() -> None:
    larger = uri(png(2, 2, (b"\0" + bytes([7] * 6)) * 2))
    one, same, other = map(SIGHT.image, (colour(7), larger, colour(8)))
    assert one.digest == same.digest != other.digest
    np.testing.assert_array_equal(one.pixels, same.pixels)
    assert ImageSpan(one, 0, ROWS).image is one
