"""Mutants of image decoding and preprocessing."""

import base64
import io
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
from tests.conformance.mutants.data.helpers import with_image_uris
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
