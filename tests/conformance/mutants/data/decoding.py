"""Mutants of image decoding and preprocessing."""

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PIL import Image as PillowImage
from starlette.types import ASGIApp

from api.app import create_app
from conformance.fixtures.images import png
from reference.bundle import Bundle
from reference.images import decoding
from reference.images.placement import ImageProcessor
from tests.conformance.mutants import mutant
from tests.conformance.mutants.data.helpers import BLACK, with_image_uris
from tests.conformance.mutations.engine import served_model


def with_decoder(
    model: Bundle, decode: Callable[[PillowImage.Image], PillowImage.Image]
) -> ASGIApp:
    """Decode each valid image file with another function."""

    def encoded_anew(uri: str) -> str:
        try:
            file = io.BytesIO(base64.b64decode(uri.partition(",")[2], validate=True))
            image = PillowImage.open(file)
            image.load()
            return png(decode(image))
        except Exception:
            return uri  # the server refuses it anyway

    return with_image_uris(model, encoded_anew)


def with_preprocessor(model: Bundle, **changed: Any) -> ASGIApp:
    """Change settings of the preprocessor."""
    processor = model.image_processor
    if isinstance(processor, ImageProcessor):
        preprocessor = replace(processor.preprocessor, **changed)
        processor = replace(processor, preprocessor=preprocessor)
    return create_app([replace(served_model(model), image_processor=processor)])


@mutant("data/pixel-identity", "data/any-format-matches-model")
def palette_index_as_gray(model: Bundle) -> ASGIApp:
    """Use the indices of palette colors as shades of gray."""

    def decode(image: PillowImage.Image) -> PillowImage.Image:
        if image.mode != "P":
            return decoding.to_rgb(image)
        return PillowImage.frombytes("L", image.size, image.tobytes())

    return with_decoder(model, decode)


def refuse_spelling(model: Bundle, pattern: str) -> ASGIApp:
    """Refuse a `data:` URI that a regex matches."""
    return with_image_uris(model, lambda uri: "refused" if re.search(pattern, uri) else uri)


@mutant("data/uri-spellings")
def white_space_refused(model: Bundle) -> ASGIApp:
    """Refuse base64 in several lines, as Python's strict decoder does."""
    return refuse_spelling(model, r"base64,.*\s\S")


@mutant("data/uri-spellings")
def percent_encoding_refused(model: Bundle) -> ASGIApp:
    """Refuse base64 with escapes."""
    return refuse_spelling(model, "base64,.*%")


@mutant("data/uri-spellings")
def missing_padding_refused(model: Bundle) -> ASGIApp:
    """Refuse base64 whose length is not a multiple of four."""
    return refuse_spelling(model, r"base64,(?:.{4})*.{1,3}$")


@mutant("data/uri-spellings")
def parameters_refused(model: Bundle) -> ASGIApp:
    """Refuse a media type with parameters."""
    return refuse_spelling(model, "^data:[^;,]*;(?! *base64,)")


@mutant("data/uri-spellings")
def unpadded_is_black(model: Bundle) -> ASGIApp:
    """Use a black image for base64 without padding."""
    return with_image_uris(model, lambda uri: uri if "=" in uri.partition(",")[2] else BLACK)


@mutant("data/uri-spellings")
def raw_content_refused(model: Bundle) -> ASGIApp:
    """Refuse a file that is not in base64."""
    return refuse_spelling(model, "^data:(?!.*base64,)")


@mutant("data/alpha-channel-dropped", "data/any-format-matches-model")
def alpha_composited_on_black(model: Bundle) -> ASGIApp:
    """Composite transparent pixels on black."""

    def decode(image: PillowImage.Image) -> PillowImage.Image:
        image = image if image.mode == "RGBA" else decoding.to_rgb(image)
        black = PillowImage.new("RGBA", image.size, (0, 0, 0, 255))
        return PillowImage.alpha_composite(black, image.convert("RGBA"))

    return with_decoder(model, decode)


@mutant("data/exif-orientation", "data/any-format-matches-model")
def exif_orientation_ignored(model: Bundle) -> ASGIApp:
    """Ignore the EXIF orientation."""
    return with_decoder(model, lambda image: image.convert("RGB"))


@mutant("data/first-animation-frame")
def last_animation_frame(model: Bundle) -> ASGIApp:
    """Use the last frame of an animation."""

    def decode(image: PillowImage.Image) -> PillowImage.Image:
        image.seek(getattr(image, "n_frames", 1) - 1)
        return decoding.to_rgb(image)

    return with_decoder(model, decode)


@mutant("data/any-size-matches-model")
def nearest_neighbor_resize(model: Bundle) -> ASGIApp:
    """Resize an image by nearest-neighbor interpolation."""
    return with_preprocessor(model, resample=int(PillowImage.Resampling.NEAREST))


@mutant("data/any-size-matches-model")
def resize_without_crop(model: Bundle) -> ASGIApp:
    """Resize an image to a square without cropping it."""
    return with_preprocessor(model, shortest_edge=None, size=(12, 12))
