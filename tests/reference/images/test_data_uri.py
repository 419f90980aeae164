"""`data:` URIs: every legal spelling of any bytes is decoded to these bytes."""

import base64
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reference.images.data_uri import DataURI, parse_data_uri
from reference.images.limits import ImageError

TYPE = "image/png"
WHITE_SPACE = ("", " ", "\t", "\n", "\f", "\r\n")
LITERAL = frozenset(string.ascii_letters + string.digits + "!$&'()*+,-./:;=?@_~\"<>[]^`{|}")
PARAMETERS = st.lists(st.sampled_from(("name=a.png", "charset=utf-8", 'a="b"', "base64=1", "x")))


@st.composite
def mixed_case(draw: st.DrawFn, text: str) -> str:
    """Draw a text in any case."""
    return "".join(c.upper() if draw(st.booleans()) else c for c in text)


@st.composite
def escaped(draw: st.DrawFn, text: str) -> str:
    """Draw a text with any of its characters percent-encoded."""
    return "".join(draw(percent_encoded(ord(c))) if draw(st.booleans()) else c for c in text)


@st.composite
def percent_encoded(draw: st.DrawFn, byte: int) -> str:
    """Draw the escape of a byte, with hexadecimal digits in any case."""
    return "%" + draw(mixed_case(f"{byte:02x}"))


@st.composite
def base64_body(draw: st.DrawFn, content: bytes) -> str:
    """Draw base64 with white space, escapes, and with or without padding."""
    text = base64.b64encode(content).decode()
    text = text if draw(st.booleans()) else text.rstrip("=")
    parts = [c + draw(st.sampled_from(WHITE_SPACE)) for c in text]
    return draw(escaped("".join(parts)))


@st.composite
def raw_body(draw: st.DrawFn, content: bytes) -> str:
    """Draw percent-encoded content."""
    return "".join(
        chr(byte) if chr(byte) in LITERAL and draw(st.booleans()) else draw(percent_encoded(byte))
        for byte in content
    )


@st.composite
def spellings(draw: st.DrawFn) -> tuple[bytes, str]:
    """Draw bytes and a `data:` URI of them."""
    content = draw(st.binary(max_size=20))
    is_base64 = draw(st.booleans())
    body = draw(base64_body(content) if is_base64 else raw_body(content))
    header = draw(mixed_case(TYPE)) + "".join(f";{p}" for p in draw(PARAMETERS)[:4])
    if is_base64:
        header += ";" + " " * draw(st.integers(0, 2)) + draw(mixed_case("base64"))
    space, fragment = draw(st.sampled_from(WHITE_SPACE)), draw(st.sampled_from(("", "#", "#a,b%")))
    uri = f"{draw(mixed_case('data'))}:{space}{header}{space},{body}{fragment}"
    return content, f"{space}{uri}{space}"


@given(spellings())
def test_spellings_are_decoded(case: tuple[bytes, str]) -> None:
    content, uri = case
    assert parse_data_uri(uri) == DataURI(TYPE, content)


def corrupted(text: str, position: int, character: str) -> str:
    return text[:position] + character + text[position:]


@given(st.binary(min_size=1, max_size=12), st.integers(0), st.sampled_from("-_*§é\0\x7f"))
def test_characters_outside_base64_are_refused(
    content: bytes, position: int, character: str
) -> None:
    text = base64.b64encode(content).decode().rstrip("=")
    uri = "data:image/png;base64," + corrupted(text, position % len(text), character)
    with pytest.raises(ImageError, match="not base64: "):
        parse_data_uri(uri)


@given(st.text(max_size=60))
@example("data:\ud800,")
@example("data:,\ud800")
@example("data:;base64,A")
def test_arbitrary_text_is_parsed_or_refused(text: str) -> None:
    for uri in text, f"data:{text}", f"data:,{text}", f"data:;base64,{text}":
        try:
            parse_data_uri(uri)
        except ImageError as error:
            assert 0 < len(str(error)) < 150


REFUSED = {
    "data:image/png;base64": "not a data: URI",
    "date:image/png;base64,AAAA": "not a data: URI",
    "data:image/png#;base64,AAAA": "not a data: URI",
    "data:image/png;base64,A-AA": "'-' is of the URL-safe alphabet",
    "data:image/png;base64,AA_A": "'_' is of the URL-safe alphabet",
    "data:image/png;base64,AAAAA": "the last character is incomplete",
    "data:image/png;base64,A": "the last character is incomplete",
    "data:image/png;base64,A===": "'=' before the end, or too many of them",
    "data:image/png;base64,AA=": "'=' before the end, or too many of them",
    "data:image/png;base64,AA==AA": "'=' before the end, or too many of them",
    "data:image/png;base64,====": "'=' before the end, or too many of them",
    f"data:image/png;{'a' * 200};base64,AAAA": "a header of more than 200 characters",
    "data:image/png,\ud800": "a lone surrogate",
}


@pytest.mark.parametrize("uri", REFUSED, ids=ascii)
def test_error_names_the_problem(uri: str) -> None:
    with pytest.raises(ImageError) as error:
        parse_data_uri(uri)
    assert REFUSED[uri] in str(error.value)


PARSED = {
    "data:,": DataURI("text/plain", b""),
    "data:;base64,AA": DataURI("text/plain", b"\0"),
    "data:;charset=utf-8,%C3%A9": DataURI("text/plain", "é".encode()),
    "data:image/png,é😀": DataURI("image/png", "é😀".encode()),
    "data:image/png,100%,%zz%4": DataURI("image/png", b"100%,%zz%4"),
    "data:image/png;base64;name=a,AAAA": DataURI("image/png", b"AAAA"),
    "data:image/png;base64x,AAAA": DataURI("image/png", b"AAAA"),
    "data:IMAGE/PNG ; base64,AAAA": DataURI("image/png", bytes(3)),
    "data:image/png;base64,AB==": DataURI("image/png", b"\0"),
    "da\nta:image/p\tng;ba\r\nse64,AAAA": DataURI("image/png", bytes(3)),
}


@pytest.mark.parametrize("uri", PARSED, ids=ascii)
def test_unusual_spelling(uri: str) -> None:
    assert parse_data_uri(uri) == PARSED[uri]


def test_long_uri_is_decoded() -> None:
    content = bytes(range(256)) * 2000
    escapes = "".join(f"%{byte:02x}" for byte in content)
    assert parse_data_uri(f"data:image/png,{escapes}").content == content
    lines = base64.encodebytes(content).decode()
    assert parse_data_uri(f"data:image/png;base64,{lines}").content == content
