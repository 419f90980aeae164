"""Decoding of request images: accepted formats, refusals, and resistance to malicious files."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reference.images import decoding
from reference.images.limits import ImageError, ImageLimits
from tests.support.image_files import IMAGE_FILES, INVALID_IMAGE_URIS, data_uri, png

SMALL = ImageLimits(pixels=10_000)


def test_small_image_is_decoded() -> None:
    image = decoding.decode_image(data_uri(png(1, 1, b"\0\x01\x02\x03")), SMALL)
    assert np.asarray(image).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("path", IMAGE_FILES, ids=lambda path: path.name)
def test_declared_type_does_not_matter(path: Path) -> None:
    for kind in "image/png", "IMAGE/JPEG", "image/jpg", "image/webp;x=y", "image/gif":
        assert decoding.decode_image(data_uri(path.read_bytes(), kind), ImageLimits()).mode == "RGB"


@pytest.mark.parametrize("name", INVALID_IMAGE_URIS)
def test_invalid_images_are_refused(name: str) -> None:
    with pytest.raises(ImageError) as error:
        decoding.decode_image(INVALID_IMAGE_URIS[name], ImageLimits())
    assert 0 < len(str(error.value)) < 200 and "0x" not in str(error.value)


@pytest.mark.parametrize("path", IMAGE_FILES, ids=lambda path: path.name)
def test_truncated_image_is_refused_or_complete(path: Path) -> None:
    """Some formats end with bytes that are not needed."""
    data = path.read_bytes()
    whole = np.asarray(decoding.decode_bytes(data, ImageLimits()))
    with pytest.raises(ImageError):
        decoding.decode_bytes(data[: len(data) // 2], ImageLimits())
    for missing in 1, 2, 5, 12, 13:
        try:
            pixels = np.asarray(decoding.decode_bytes(data[:-missing], ImageLimits()))
        except ImageError:
            continue
        np.testing.assert_array_equal(pixels, whole)


@given(st.sampled_from(IMAGE_FILES), st.data())
def test_damaged_image_is_refused_or_decoded(path: Path, data: st.DataObject) -> None:
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(("change", "cut", "repeat", "zero"))):
            case "change":
                damaged[at] = data.draw(st.integers(0, 255))
            case "cut":
                del damaged[at : at + data.draw(st.integers(1, 40))]
            case "repeat":
                damaged[at:at] = damaged[at : at + 100]
            case "zero":
                damaged[at : at + 4] = bytes(4)
        if not damaged:
            break
    try:
        image = decoding.decode_bytes(bytes(damaged), SMALL)
    except ImageError as error:
        assert str(error)
    else:
        assert image.mode == "RGB" and image.width * image.height <= SMALL.pixels


@given(st.text(max_size=60) | st.binary(max_size=60).map(data_uri))
def test_arbitrary_text_is_refused(text: str) -> None:
    with pytest.raises(ImageError):
        decoding.decode_image(text, SMALL)


def test_pixel_limit_is_inclusive() -> None:
    rows = (b"\0" + bytes(300)) * 100
    assert decoding.decode_bytes(png(100, 100, rows), SMALL).size == (100, 100)
    with pytest.raises(ImageError, match="100 × 101 pixels are more than the maximum of 10000"):
        decoding.decode_bytes(png(100, 101, rows), SMALL)


def test_transparent_color_is_white_and_alpha_is_dropped() -> None:
    transparent = png(2, 1, b"\0\x05\x06\x07\x08\x09\x0a", (b"tRNS", b"\0\x05\0\x06\0\x07"))
    assert np.asarray(decoding.decode_bytes(transparent, SMALL)).tolist() == [
        [[255, 255, 255], [8, 9, 10]]
    ]
    file = io.BytesIO()
    Image.new("RGBA", (1, 1), (5, 6, 7, 0)).save(file, "PNG")
    assert np.asarray(decoding.decode_bytes(file.getvalue(), SMALL)).tolist() == [[[5, 6, 7]]]


# Prints the peak memory of decoding small files that declare or contain huge data.
BOMBS = """
import base64, io, resource, struct, sys, zlib
from PIL import Image
from reference.images import decoding, limits
from tests.support.image_files import png

def webp(side):
    bits = (side - 1) | (side - 1) << 14
    frame = b"\\x2f" + struct.pack("<I", bits) + bytes(20)
    chunk = b"VP8L" + struct.pack("<I", len(frame)) + frame + bytes(len(frame) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk

def overlapping(entries, size):
    at = 14 + 12 * entries
    table = [struct.pack("<HHLL", 0x1000 + i, 7, size, at) for i in range(entries)]
    return b"II*\\0\\x08\\0\\0\\0" + struct.pack("<H", entries) + b"".join(table) + bytes(4 + size)

gif = io.BytesIO()
Image.new("P", (60000, 2)).save(gif, "GIF")
gif = bytearray(gif.getvalue())
gif[6:10] = struct.pack("<HH", 60000, 60000)
bombs = [
    png(60000, 60000, bytes(10**6)),
    png(2**31 - 1, 2**31 - 1),
    png(12000, 12000, bytes(12000 * 36001)),
    png(10, 10, bytes(310), (b"zTXt", b"a\\0\\0" + zlib.compress(bytes(10**8), 9))),
    png(10, 10, bytes(310), (b"iCCP", b"a\\0\\0" + zlib.compress(bytes(10**8), 9))),
    png(1, 1, bytes(4), (b"eXIf", overlapping(2000, 10**6))),
    webp(16384),
    bytes(gif),
]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for bomb in bombs:
    try:
        decoding.decode_bytes(bomb, limits.ImageLimits())
    except limits.ImageError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_decompression_bombs_do_not_exhaust_memory() -> None:
    run = subprocess.run(
        [sys.executable, "-c", BOMBS], capture_output=True, text=True, check=True, timeout=100
    )
    assert int(run.stdout) < 300_000  # kilobytes; decompressed, the smallest has 400 MB


def test_pixel_limit_above_pillows_is_refused() -> None:
    with pytest.raises(
        ValueError, match="pixels: must be at most [0-9]+ per image, got 1000000000"
    ):
        ImageLimits(pixels=10**9)


def test_decompression_bomb_error_names_the_pixel_limit() -> None:
    with pytest.raises(ImageError, match="more pixels than the maximum of 10000"):
        decoding.decode_bytes(png(60_000, 60_000), SMALL)


def scans(count: int, side: int = 16) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    file = io.BytesIO()
    Image.new("L", (side, side), 77).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * count + data[end:]


def test_jpeg_scans_are_counted_up_to_the_end_marker() -> None:
    """Some phones append a video, which may contain any bytes."""
    assert decoding.decode_bytes(scans(20), SMALL).size == (16, 16)
    with pytest.raises(ImageError, match="scans: at most 100 are allowed"):
        decoding.decode_bytes(scans(120), SMALL)
    video = b"\xff\xda\x00\x04" * 5000 + np.random.default_rng(0).bytes(2 * 10**6)
    assert decoding.decode_bytes(scans(1) + video, SMALL).size == (16, 16)


def test_jpeg_with_thousands_of_segments_is_refused() -> None:
    data = scans(1)
    with pytest.raises(ImageError, match="more than 5000 segments"):
        decoding.decode_bytes(data[:2] + b"\xff\xfe\x00\x02" * 5000 + data[2:], SMALL)


def test_jpeg_markers_inside_a_segment_are_ignored() -> None:
    data = scans(1)
    comment = b"\xff\xfe" + (2 + 4 * 500).to_bytes(2, "big") + b"\xff\xda\x00\x02" * 500
    assert decoding.decode_bytes(data[:2] + comment + data[2:], SMALL).size == (16, 16)
