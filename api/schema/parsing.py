"""From the bytes of a body to a JSON object.

The parser is strict (RFC 8259, UTF-8): Python's `json` also reads NaN, Infinity and numbers of any
length, and recurses into containers of any depth.
"""

import json
import math
import re
from decimal import Decimal
from typing import Any, NoReturn

from starlette.requests import Request

from api.errors import InvalidRequest, body_too_large
from api.schema.request import MAX_EXACT
from api.schema.validation_errors import error_detail

MAX_DEPTH = 100  # of nested arrays and objects
NOT_AN_OBJECT = "Input should be a valid dictionary or object to extract fields from"

Json = dict[str, Any]

NON_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# A string, which is skipped, or (in the group) a number that `json` refuses.
INVALID_NUMBER = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(NaN|-?Infinity|\d{4301})', re.DOTALL)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body.

    Raises ApiError 413 if more than `limit` bytes are announced or received, and ClientDisconnect.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise body_too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise body_too_large(limit)
    return bytes(body)


def parse_json(body: bytes) -> Json:
    """Parse a body that must be a JSON object. Raises InvalidRequest."""
    if not body:
        raise InvalidRequest([error_detail("missing", (), "Field required", None)])
    value = parse_strict(body)
    if not isinstance(value, dict):
        detail = error_detail("model_attributes_type", (), NOT_AN_OBJECT, value)
        raise InvalidRequest([detail])
    return value


def parse_strict(body: bytes) -> Any:
    """Parse any JSON value. Raises InvalidRequest for everything that RFC 8259 does not allow."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise_malformed(error.start, f"invalid UTF-8: {error.reason}")
    if exceeds_max_depth(body):
        raise_malformed(0, "nested too deeply")
    try:
        return json.loads(text, parse_float=parse_number, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise_malformed(error.pos, error.msg)
    except ValueError:  # of `refuse_constant`, or of `int` for too many digits: find the position
        positions = (match.start() for match in INVALID_NUMBER.finditer(text) if match[1])
        raise_malformed(next(positions, 0), "not a JSON number, or a number of too many digits")


def parse_number(text: str) -> int | float:
    """Parse a number that has a fraction or an exponent. An integer too large for a float to be
    exact, as 9007199254740993.0, becomes an int.
    """
    value = float(text)
    if -MAX_EXACT < value < MAX_EXACT or math.isinf(value):
        return value
    exact = Decimal(text)
    return int(exact) if exact == exact.to_integral_value() else value


def refuse_constant(name: str) -> NoReturn:
    """Raise ValueError for NaN, Infinity and -Infinity."""
    raise ValueError(name)


def raise_malformed(position: int, reason: str) -> NoReturn:
    """Raise InvalidRequest. position: of the character; of the byte, if the body is not UTF-8."""
    message = "JSON decode error"
    raise InvalidRequest(
        [error_detail("json_invalid", (position,), message, {}, {"error": reason})]
    )


def exceeds_max_depth(body: bytes) -> bool:
    """Return whether containers are nested more than MAX_DEPTH deep.

    Counts brackets outside of strings before anything is parsed, so that nothing recurses on a
    deep body. Uses few passes over the bytes: a body may have millions of items.
    """
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside_strings = b"".join(unescaped.split(b'"')[::2])
    brackets = outside_strings.translate(None, delete=NON_BRACKETS)
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False
