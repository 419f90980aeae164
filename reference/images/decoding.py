"""Pictures as a request brings them: `data:` URIs (RFC 2397) of PNG, JPEG, WebP or GIF, in base64.

Nothing is ever fetched. What a picture says of its size is believed before a pixel is unpacked, so
a small file cannot fill the memory. Decoding is Pillow's.
"""

import base64
import binascii
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
TYPES = ("image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif")
HEADER = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
LONGEST_HEADER = 200  # characters
MOST_MARKERS, MOST_SEGMENTS = 100, 5000  # a progressive JPEG has about ten scans

# In what is compressed, 0xFF is followed by 0 or by one of the marks to start again from.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
END, SCAN, EXIF = 0xD9, 0xDA, 0xE1


class ImageError(ValueError):
    """Something that is no picture, or one that is not taken. The message says why."""


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """images: of one request. pixels: of one picture, as it is sent; up to a dozen bytes each while
    it is read. Bytes are limited by the size of a body.

    Raises ValueError for more pixels than Pillow unpacks without a warning.
    """

    images: int = 16
    pixels: int = 2**25

    def __post_init__(self) -> None:
        most = Image.MAX_IMAGE_PIXELS
        if most is not None and self.pixels > most:
            raise ValueError(f"pixels of an image: {self.pixels} are more than {most}")


def decode_image(uri: str, limits: ImageLimits) -> Image.Image:
    """The picture of a `data:` URI in RGB, the right way up by its EXIF orientation. An alpha
    channel is dropped, one transparent colour is white, 16 bits of grey are cut off at 255, and of
    an animation the first frame is taken: as transformers' image loader and its CLIP processor do
    it. Raises ImageError.
    """
    return decoded(payload(uri), limits)


def payload(uri: str) -> bytes:
    """The bytes of a `data:` URI. Raises ImageError for every other URI, and for one that does not
    claim to be a picture in base64.
    """
    header = HEADER.match(uri, 0, LONGEST_HEADER)
    if header is None:
        raise ImageError("not a data: URI, such as data:image/png;base64,…")
    kind, parameters = header[1].strip().lower(), header[2].lower().split(";")
    if kind not in TYPES:
        raise ImageError(f"{kind[:50]!r} is not image/png, image/jpeg, image/webp or image/gif")
    if parameters[-1].strip() != "base64":
        raise ImageError("a data: URI that is not in base64")
    try:
        return base64.b64decode(uri[header.end() :], validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        raise ImageError("not base64") from None


def decoded(data: bytes, limits: ImageLimits) -> Image.Image:
    """The picture in a file. Raises ImageError."""
    refuse_toil(data)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                raise ImageError(
                    f"{width} × {height} pixels are more than the {limits.pixels} that are taken"
                )
            return plain(picture)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"more pixels than the {limits.pixels} that are taken") from None
    except Exception as error:  # its decoders raise nothing narrower
        raise ImageError(f"not a whole PNG, JPEG, WebP or GIF picture ({about(error)})") from None


def refuse_toil(data: bytes) -> None:
    """Raise ImageError for a JPEG that would keep a processor busy for minutes: each scan goes over
    all pixels again, and each piece of EXIF copies those before it.
    """
    if not data.startswith(b"\xff\xd8"):
        return
    found = Counter(islice(markers(data), MOST_SEGMENTS + 1))
    if found.total() > MOST_SEGMENTS:
        raise ImageError(f"a JPEG of more than {MOST_SEGMENTS} segments")
    for marker, what in (SCAN, "scans"), (EXIF, "pieces of EXIF"):
        if found[marker] > MOST_MARKERS:
            raise ImageError(f"a JPEG of {found[marker]} {what}: {MOST_MARKERS} are taken")


def markers(data: bytes) -> Iterator[int]:
    """Those of the segments of a JPEG, up to its end: what stands behind it (phones put a film
    there) is none of it. ITU-T T.81, annex B.
    """
    at = 2
    while (found := MARKER.search(data, at)) and found[0][1] != END:
        yield found[0][1]
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")


def plain(picture: Image.Image) -> Image.Image:
    """A picture in RGB, the right way up."""
    picture.load()
    if isinstance(picture.info.get("transparency"), bytes):
        del picture.info["transparency"]  # an alpha for each colour, which Pillow would warn of
    ImageOps.exif_transpose(picture, in_place=True)
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    clear = rgb.info.get("transparency")
    return rgb if clear is None else on_white(rgb, clear)


def on_white(rgb: Image.Image, clear: tuple[int, int, int]) -> Image.Image:
    """A picture of which one colour is transparent."""
    pixels = np.array(rgb)
    pixels[(pixels == np.array(clear, np.uint8)).all(axis=2)] = 255
    return Image.fromarray(pixels)


def about(error: Exception) -> str:
    """Pillow's own words, less where the bytes were in memory."""
    return re.sub(r"\s*<[^>]*>", "", str(error))[:100].strip() or type(error).__name__
