"""Parses `data:` URIs in every spelling that a browser accepts.

Source: RFC 2397; the `data:` URL processor of https://fetch.spec.whatwg.org/#data-url-processor,
and the forgiving-base64 decode of https://infra.spec.whatwg.org/#forgiving-base64-decode.
"""

import base64
import re
from dataclasses import dataclass

from reference.images.limits import ImageError

MAX_HEADER_LENGTH = 200  # characters before the comma
C0_AND_SPACE = "".join(map(chr, range(33)))
BASE64 = re.compile(r"; *base64$", re.IGNORECASE)
ASCII_WHITE_SPACE = b"\t\n\f\r "
NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class DataURI:
    """The content of a `data:` URI, and its media type in lower case without parameters."""

    media_type: str
    content: bytes


def parse_data_uri(uri: str) -> DataURI:
    """Return the media type and the decoded content of a `data:` URI.

    Meaning:   data:[media type][;name=value …][;base64],content. The content is percent-decoded,
               then decoded from base64 if `;base64` is the last parameter.
    Boundary:  upper and lower case are the same in the scheme, the media type and `base64`. Tabs,
               line breaks, white space around the URI and in base64, and a fragment (`#…`) are
               ignored. The padding of base64 may be missing.
               Without a media type, it is text/plain.
    Example:   upper case, a parameter, a space in base64, and escaped padding.
               >>> parse_data_uri("DATA:image/png;name=a.png;base64,AQ I%3D")
               DataURI(media_type='image/png', content=b'\\x01\\x02')

    Raises ImageError for any other URI, and for a header of more than MAX_HEADER_LENGTH characters.
    """
    text = remove_line_breaks(uri.strip(C0_AND_SPACE)).partition("#")[0]
    if text[:5].lower() != "data:" or "," not in text:
        raise ImageError("not a data: URI, such as data:image/png;base64,…")
    comma = text.index(",")
    if comma > MAX_HEADER_LENGTH:
        raise ImageError(f"a data: URI with a header of more than {MAX_HEADER_LENGTH} characters")
    header = text[5:comma].strip()
    try:
        content = percent_decode(text[comma + 1 :])
    except UnicodeEncodeError:
        raise ImageError("a data: URI with a lone surrogate") from None
    if marker := BASE64.search(header):
        header, content = header[: marker.start()], decode_base64(content)
    return DataURI(header.partition(";")[0].strip().lower() or "text/plain", content)


def remove_line_breaks(text: str) -> str:
    """Remove tabs and line breaks, which are not part of a URL."""
    return text.replace("\t", "").replace("\n", "").replace("\r", "")


def percent_decode(text: str) -> bytes:
    """Decode `%41` and other escapes. All other characters are UTF-8."""
    return ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode())


def decode_base64(data: bytes) -> bytes:
    """Decode base64 with or without padding, and with any white space. Raises ImageError."""
    data = data.translate(None, ASCII_WHITE_SPACE)
    if len(data) % 4 == 0:
        data = data.removesuffix(b"=").removesuffix(b"=")
    if invalid := NOT_BASE64.search(data):
        raise ImageError(f"not base64: {describe(data, invalid.start())}")
    if len(data) % 4 == 1:
        raise ImageError("not base64: the last character is incomplete")
    return base64.b64decode(data + b"=" * (-len(data) % 4))


def describe(data: bytes, position: int) -> str:
    """Describe a byte that is not base64."""
    match data[position : position + 1]:
        case b"-" | b"_" as character:
            return (
                f"{character.decode()!r} is of the URL-safe alphabet, where a data: URI has + and /"
            )
        case b"=":
            return "'=' before the end, or too many of them"
        case character:
            return f"{ascii(character)[1:]} is not in its alphabet"
