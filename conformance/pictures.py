"""Pictures to be sent, the same bytes each time, and what is none.

They are made of cells of one colour each, on the grid of a JPEG's blocks, in few colours: so every
format that is used here keeps each pixel as it is, and a right decoder finds it so.
"""

import base64
import io
import random
import struct
import zlib
from functools import cache
from typing import Any

from PIL import Image

PLACEHOLDER = "<image>"  # stands for an image in the text of a prompt
CELL = 16  # pixels; a JPEG's blocks have 8
LEVELS = 8  # of lightness
TINTS = ((230, 40, 40), (40, 80, 230), (250, 250, 250), (40, 170, 60), (240, 220, 40))
ORIENTATION = 0x0112  # the EXIF tag

# What a picture is stored as, so that it is the right way up once it is turned by its orientation.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def mosaic(number: int, width: int = 4, height: int = 3) -> Image.Image:
    """Picture `number`, with a palette: cells of one tint, by chance light or dark."""
    dice, tint = random.Random(number), TINTS[number % len(TINTS)]
    cells = Image.new("P", (width, height))
    cells.putpalette([c * (i + 1) // LEVELS for i in range(LEVELS) for c in tint])
    for i in range(width * height):
        cells.putpixel((i % width, i // width), dice.getrandbits(3))
    return cells.resize((width * CELL, height * CELL), Image.Resampling.NEAREST)


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def uri(content: bytes, kind: str) -> str:
    """The `data:` URI of a file. kind: the second half of its media type."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def png(picture: Image.Image) -> str:
    return uri(encoded(picture, "PNG"), "png")


def jpeg(picture: Image.Image, **options: Any) -> str:
    """As exact as can be: each block of one colour is one number."""
    rgb = picture.convert("RGB")
    return uri(encoded(rgb, "JPEG", quality=100, subsampling=0, **options), "jpeg")


def webp(picture: Image.Image, **options: Any) -> str:
    rgb = picture.convert("RGB")
    return uri(encoded(rgb, "WEBP", lossless=True, **options), "webp")


def gif(picture: Image.Image, **options: Any) -> str:
    return uri(encoded(picture, "GIF", **options), "gif")


def sized(number: int, width: int, height: int) -> str:
    """Picture `number`, as wide and as high as that, to the pixel."""
    rgb = mosaic(number).convert("RGB")
    return png(rgb.resize((width, height), Image.Resampling.NEAREST))


@cache
def shown(number: int) -> str:
    """Picture `number`. Neighbours have nothing in common."""
    return png(mosaic(number).convert("RGB"))


def formats(number: int) -> dict[str, str]:
    """Picture `number` in every format, and as careless as a media type may be written."""
    picture = mosaic(number)
    found = {
        "PNG": shown(number),
        "PNG with a palette": png(picture),
        "WebP": webp(picture),
        "GIF": gif(picture),
        "JPEG": jpeg(picture),
    }
    return found | {"upper case": found["PNG"].replace("data:image/png", "DATA:IMAGE/PNG")}


def turned(picture: Image.Image, orientation: int) -> str:
    """A JPEG that is stored in another way and says how it must be turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return jpeg(picture.transpose(STORED[orientation]), exif=exif)


def with_alpha(picture: Image.Image) -> str:
    """From clear at the top to opaque at the bottom; the colours are all there."""
    rgba = picture.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(picture.size))
    return png(rgba)


def animated(*frames: Image.Image) -> dict[str, str]:
    """Frames, one after another, by format."""
    options: dict[str, Any] = {"save_all": True, "duration": 100}
    rgb = [frame.convert("RGB") for frame in frames[1:]]
    return {
        "GIF": gif(frames[0], append_images=frames[1:], **options),
        "WebP": webp(frames[0], append_images=rgb, **options),
    }


def broken() -> dict[str, str]:
    """What claims to be a picture and is none that is taken, by what is wrong with it."""
    picture = mosaic(0).convert("RGB")
    half_png, half_jpeg = (halved(encoded(picture, kind)) for kind in ("PNG", "JPEG"))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
    return {
        "no base64": f"{shown(0)[:-9]}§§§",
        "no picture": uri(b"This is a text, and no picture.", "png"),
        "half a PNG": uri(half_png, "png"),
        "half a JPEG": uri(half_jpeg, "jpeg"),
        "nothing": "data:image/png;base64,",
        "SVG": uri(svg, "svg+xml"),
        "no URI": "a picture of a dog",
    }


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def bomb(side: int = 60_000) -> str:
    """A PNG of a few bytes that claims to have side × side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(100)))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")
    return uri(content, "png")


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum
