"""Decodes `data:` URIs of PNG, JPEG, WebP or GIF, with Pillow.

No URL is ever fetched. The declared size is checked before any pixel is decompressed, so a small
file cannot exhaust the memory.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import numpy as np
from PIL import Image, ImageOps

from reference.images.data_uri import parse_data_uri
from reference.images.limits import ImageError, ImageLimits

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
TYPES = ("image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif")
MAX_MARKERS, MAX_SEGMENTS = 100, 5000  # a progressive JPEG has about ten scans

# In compressed data, 0xFF is followed by 0 or by a restart marker.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
END, SCAN, EXIF = 0xD9, 0xDA, 0xE1


def decode_image(uri: str, limits: ImageLimits) -> Image.Image:
    """Decode a `data:` URI to an RGB image, rotated by its EXIF orientation.

    As in transformers' image loader and CLIP processor, an alpha channel is dropped, one
    transparent color becomes white, 16-bit gray is clipped at 255, and an animation is its first
    frame. Raises ImageError.
    """
    return decode_bytes(decode_uri(uri), limits)


def decode_uri(uri: str) -> bytes:
    """Return the content of a `data:` URI. Raises ImageError for any other URI, and for one that
    does not declare an image.
    """
    parsed = parse_data_uri(uri)
    if parsed.media_type not in TYPES:
        kind = parsed.media_type[:50]
        raise ImageError(f"{kind!r} is not image/png, image/jpeg, image/webp or image/gif")
    return parsed.content


def decode_bytes(data: bytes, limits: ImageLimits) -> Image.Image:
    """Decode an image file to RGB. Raises ImageError."""
    reject_costly_jpeg(data)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > limits.pixels:
                raise ImageError(
                    f"{width} × {height} pixels are more than the maximum of {limits.pixels}"
                )
            return to_rgb(image)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"more pixels than the maximum of {limits.pixels}") from None
    except Exception as error:  # Pillow's decoders raise many types
        description = describe_error(error)
        raise ImageError(f"not a complete PNG, JPEG, WebP or GIF image ({description})") from None


def reject_costly_jpeg(data: bytes) -> None:
    """Raise ImageError for a JPEG that would take minutes to decode: each scan visits all pixels
    again, and each EXIF segment copies those before it.
    """
    if not data.startswith(b"\xff\xd8"):
        return
    counts = Counter(islice(jpeg_markers(data), MAX_SEGMENTS + 1))
    if counts.total() > MAX_SEGMENTS:
        raise ImageError(f"a JPEG of more than {MAX_SEGMENTS} segments")
    for marker, name in (SCAN, "scans"), (EXIF, "EXIF segments"):
        if counts[marker] > MAX_MARKERS:
            raise ImageError(
                f"a JPEG of {counts[marker]} {name}: at most {MAX_MARKERS} are allowed"
            )


def jpeg_markers(data: bytes) -> Iterator[int]:
    """Yield the markers of a JPEG's segments, up to its end. Some phones append a video after it.

    Source: ITU-T T.81, annex B.
    """
    position = 2
    while (marker := MARKER.search(data, position)) and marker[0][1] != END:
        yield marker[0][1]
        length = int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        position = marker.end() + length


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB, rotated by its EXIF orientation."""
    image.load()
    if isinstance(image.info.get("transparency"), bytes):
        del image.info["transparency"]  # an alpha per palette entry, of which Pillow would warn
    ImageOps.exif_transpose(image, in_place=True)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    transparent = rgb.info.get("transparency")
    return rgb if transparent is None else whiten_transparent(rgb, transparent)


def whiten_transparent(rgb: Image.Image, transparent: tuple[int, int, int]) -> Image.Image:
    """Replace the transparent color of an image by white."""
    pixels = np.array(rgb)
    pixels[(pixels == np.array(transparent, np.uint8)).all(axis=2)] = 255
    return Image.fromarray(pixels)


def describe_error(error: Exception) -> str:
    """Return Pillow's message, without memory addresses."""
    return re.sub(r"\s*<[^>]*>", "", str(error))[:100].strip() or type(error).__name__
