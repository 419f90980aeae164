"""Pictures as a request brings them: what is taken, what is refused, and what breaks nothing."""

import base64
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reference.images import decoding
from reference.images.decoding import ImageError, ImageLimits

FOLDER = Path(__file__).parents[2] / "goldens" / "pictures"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix != ".json")
FEW = ImageLimits(pixels=10_000)


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int, height: int, rows: bytes = b"\0\0\0\0", *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of 8-bit RGB that says it is of such a size, whatever its rows are."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_a_small_picture_is_read() -> None:
    found = decoding.decode_image(uri(png(1, 1, b"\0\x01\x02\x03")), FEW)
    assert np.asarray(found).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_format_is_read_under_any_of_their_names(path: Path) -> None:
    for kind in "image/png", "IMAGE/JPEG", "image/jpg", "image/webp;x=y", "image/gif":
        assert decoding.decode_image(uri(path.read_bytes(), kind), ImageLimits()).mode == "RGB"


NO_PICTURES = {
    "a URL": "https://example.com/a.png",
    "a file": "file:///etc/passwd",
    "nothing": "",
    "no comma": "data:image/png;base64",
    "another type": uri(b"<svg/>", "image/svg+xml"),
    "no type": uri(png(1, 1), ""),
    "no base64": "data:image/png,abc",
    "percent signs": "data:image/png;base64,%41%42",
    "half a quantum": "data:image/png;base64,abc",
    "white space": "data:image/png;base64,AA AA",
    "letters beyond ASCII": "data:image/png;base64,ÄÖÜß",
    "empty": uri(b""),
    "text": uri(b"this is no picture"),
    "a header alone": uri(png(4, 4)[:40]),
    "rows that are missing": uri(png(9, 9)),
    "a BMP": uri(b"BM" + bytes(60), "image/png"),
    "no pixels": uri(png(0, 0)),
    "a JPEG of many scans": uri(b"\xff\xd8" + b"\xff\xda\0\0" * 101, "image/jpeg"),
    "a JPEG of many pieces of EXIF": uri(b"\xff\xd8" + b"\xff\xe1\0\0" * 101, "image/jpeg"),
    "a long header": f"data:image/png;{'a=b;' * 100}base64,AAAA",
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_refused(name: str) -> None:
    with pytest.raises(ImageError) as error:
        decoding.decode_image(NO_PICTURES[name], ImageLimits())
    assert 0 < len(str(error.value)) < 200 and "0x" not in str(error.value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_picture_that_is_cut_off_is_refused_or_whole(path: Path) -> None:
    """Some formats end with bytes that nobody needs."""
    data = path.read_bytes()
    whole = np.asarray(decoding.decoded(data, ImageLimits()))
    with pytest.raises(ImageError):
        decoding.decoded(data[: len(data) // 2], ImageLimits())
    for missing in 1, 2, 5, 12, 13:
        try:
            found = np.asarray(decoding.decoded(data[:-missing], ImageLimits()))
        except ImageError:
            continue
        np.testing.assert_array_equal(found, whole)


@given(st.sampled_from(FILES), st.data())
def test_damage_is_refused_or_shown_and_nothing_else(path: Path, data: st.DataObject) -> None:
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
        found = decoding.decoded(bytes(damaged), FEW)
    except ImageError as error:
        assert str(error)
    else:
        assert found.mode == "RGB" and found.width * found.height <= FEW.pixels


@given(st.text(max_size=60) | st.binary(max_size=60).map(uri))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(ImageError):
        decoding.decode_image(text, FEW)


def test_the_limit_of_pixels_is_the_last_that_is_taken() -> None:
    rows = (b"\0" + bytes(300)) * 100
    assert decoding.decoded(png(100, 100, rows), FEW).size == (100, 100)
    with pytest.raises(ImageError, match="100 × 101 pixels are more than the 10000"):
        decoding.decoded(png(100, 101, rows), FEW)


def test_one_transparent_colour_is_white_and_an_alpha_channel_is_dropped() -> None:
    clear = png(2, 1, b"\0\x05\x06\x07\x08\x09\x0a", (b"tRNS", b"\0\x05\0\x06\0\x07"))
    assert np.asarray(decoding.decoded(clear, FEW)).tolist() == [[[255, 255, 255], [8, 9, 10]]]
    file = io.BytesIO()
    Image.new("RGBA", (1, 1), (5, 6, 7, 0)).save(file, "PNG")
    assert np.asarray(decoding.decoded(file.getvalue(), FEW)).tolist() == [[[5, 6, 7]]]


# How much memory a process may need for a few bytes that claim to be a huge picture.
BOMBS = """
import base64, io, resource, struct, sys, zlib
from PIL import Image
from reference import pictures
from tests.reference.test_pictures import png

def webp(side):
    bits = (side - 1) | (side - 1) << 14
    frame = b"\\x2f" + struct.pack("<I", bits) + bytes(20)
    chunk = b"VP8L" + struct.pack("<I", len(frame)) + frame + bytes(len(frame) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk

def overlapping(entries, size):
    at = 14 + 12 * entries
    found = [struct.pack("<HHLL", 0x1000 + i, 7, size, at) for i in range(entries)]
    return b"II*\\0\\x08\\0\\0\\0" + struct.pack("<H", entries) + b"".join(found) + bytes(4 + size)

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
        pictures.decoded(bomb, pictures.Limits())
    except pictures.ImageError:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_few_bytes_do_not_fill_the_memory() -> None:
    run = subprocess.run(
        [sys.executable, "-c", BOMBS], capture_output=True, text=True, check=True, timeout=100
    )
    assert int(run.stdout) < 300_000  # kilobytes; unpacked, the least of them has 400 MB


def test_more_pixels_than_pillow_takes_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="pixels of an image: 1000000000 are more than"):
        ImageLimits(pixels=10**9)


def test_what_pillow_itself_will_not_open_has_too_many_pixels() -> None:
    with pytest.raises(ImageError, match="more pixels than the 10000"):
        decoding.decoded(png(60_000, 60_000), FEW)


def scans(count: int, side: int = 16) -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    file = io.BytesIO()
    Image.new("L", (side, side), 77).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * count + data[end:]


def test_scans_are_counted_up_to_the_end_of_a_jpeg() -> None:
    """Some phones put a film behind it, in which any bytes may stand."""
    assert decoding.decoded(scans(20), FEW).size == (16, 16)
    with pytest.raises(ImageError, match="scans: 100 are taken"):
        decoding.decoded(scans(120), FEW)
    film = b"\xff\xda\x00\x04" * 5000 + np.random.default_rng(0).bytes(2 * 10**6)
    assert decoding.decoded(scans(1) + film, FEW).size == (16, 16)


def test_a_jpeg_of_thousands_of_segments_is_refused() -> None:
    data = scans(1)
    with pytest.raises(ImageError, match="more than 5000 segments"):
        decoding.decoded(data[:2] + b"\xff\xfe\x00\x02" * 5000 + data[2:], FEW)


def test_a_mark_within_a_segment_is_none() -> None:
    data = scans(1)
    comment = b"\xff\xfe" + (2 + 4 * 500).to_bytes(2, "big") + b"\xff\xda\x00\x02" * 500
    assert decoding.decoded(data[:2] + comment + data[2:], FEW).size == (16, 16)
