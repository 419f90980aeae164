"""The pictures that checks send are what they say, as the reference reads them."""

import numpy as np
import pytest
from PIL import Image

from conformance import pictures
from conformance.pictures import mosaic
from reference.pictures import ImageError, Limits, read


def pixels(uri: str) -> np.ndarray:
    return np.asarray(read(uri, Limits())).astype(int)


def drawn(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("number", range(12))
def test_every_way_to_store_a_picture_keeps_it(number: int) -> None:
    exact = drawn(mosaic(number))
    same = pictures.formats(number) | pictures.animated(mosaic(number), mosaic(number + 1))
    same["alpha"] = pictures.with_alpha(mosaic(number))
    for name, uri in same.items():
        assert abs(pixels(uri) - exact).max() <= (name == "JPEG"), name


@pytest.mark.parametrize("number", range(12))
def test_a_turned_jpeg_is_the_upright_one(number: int) -> None:
    upright = pixels(pictures.jpeg(mosaic(number)))
    for orientation in pictures.STORED:
        assert (pixels(pictures.turned(mosaic(number), orientation)) == upright).all()


def test_a_grey_jpeg_is_exact() -> None:
    assert (pixels(pictures.jpeg(mosaic(2))) == drawn(mosaic(2))).all()


def test_no_two_pictures_are_alike() -> None:
    assert len({pictures.shown(number) for number in range(100)}) == 100


@pytest.mark.parametrize("name", [*pictures.broken(), "bomb"])
def test_what_is_broken_is_refused(name: str) -> None:
    with pytest.raises(ImageError):
        read((pictures.broken() | {"bomb": pictures.bomb()})[name], Limits())
