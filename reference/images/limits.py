"""Limits on the images of a request, and the error of an image that is not accepted.

Importing this file does not import Pillow, which a text-only server does not need.
"""

from dataclasses import dataclass

MAX_PIXELS = 2**30 // 12  # per image; Pillow warns of more, and refuses twice as many


class ImageError(ValueError):
    """The input is not an image, or the image is not accepted. The message gives the reason."""


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """Limits on the images of a request. Their size in bytes is limited by the request body.

    images: number per request. pixels: number per image, as sent; decoding takes up to a dozen
    bytes for each.

    Raises ValueError for more pixels than Pillow decompresses without a warning.
    """

    images: int = 16
    pixels: int = 2**25

    def __post_init__(self) -> None:
        if self.pixels > MAX_PIXELS:
            raise ValueError(f"pixels: must be at most {MAX_PIXELS} per image, got {self.pixels}")
