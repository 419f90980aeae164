"""Image files and `data:` URIs for tests, valid and invalid."""

import base64
import struct
import zlib
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "goldens" / "pictures"
IMAGE_FILES = sorted(path for path in FOLDER.iterdir() if path.suffix != ".json")


def data_uri(data: bytes, kind: str = "image/png") -> str:
    """Encode a file as a `data:` URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int, height: int, rows: bytes = b"\0\0\0\0", *more: tuple[bytes, bytes]) -> bytes:
    """Build an 8-bit RGB PNG that declares a size, whatever its rows are. more: further chunks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


INVALID_IMAGE_URIS = {
    "a URL": "https://example.com/a.png",
    "a file": "file:///etc/passwd",
    "empty URI": "",
    "no comma": "data:image/png;base64",
    "other type": data_uri(b"<svg/>", "image/svg+xml"),
    "no type": data_uri(png(1, 1), ""),
    "no base64": "data:image/png,abc",
    "percent signs": "data:image/png;base64,%41%42",
    "incomplete quantum": "data:image/png;base64,abc",
    "white space": "data:image/png;base64,AA AA",
    "letters beyond ASCII": "data:image/png;base64,ÄÖÜß",
    "empty file": data_uri(b""),
    "text": data_uri(b"this is not an image"),
    "header only": data_uri(png(4, 4)[:40]),
    "missing rows": data_uri(png(9, 9)),
    "BMP": data_uri(b"BM" + bytes(60), "image/png"),
    "no pixels": data_uri(png(0, 0)),
    "JPEG with many scans": data_uri(b"\xff\xd8" + b"\xff\xda\0\0" * 101, "image/jpeg"),
    "JPEG with many EXIF segments": data_uri(b"\xff\xd8" + b"\xff\xe1\0\0" * 101, "image/jpeg"),
    "long header": f"data:image/png;{'a=b;' * 100}base64,AAAA",
}
