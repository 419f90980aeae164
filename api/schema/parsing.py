"""From the bytes of a body to an object, and from what is wrong with it to a 422.

Errors look like FastAPI's: `{"detail": [{"type", "loc": ["body", …], "msg", "input"?, "ctx"?}]}`.
Whatever they echo is the client's: it is short, and always something that JSON can say.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn

from pydantic import ValidationError
from starlette.requests import Request

from api.errors import Invalid, too_large

MAX_DEPTH = 100  # of arrays and objects: what goes deeper is refused before anything recurses on it
MAX_ERRORS = 100
MAX_ECHO = 200  # characters
NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"

# `loc` is a path in the JSON document; pydantic also names the branch of these unions.
UNIONS = frozenset({"prompt", "stop", "response_format"})

Detail = dict[str, Any]
Json = dict[str, Any]

NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NO_NUMBER = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(NaN|-?Infinity|\d{4301})', re.DOTALL)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


async def read(request: Request, limit: int) -> bytes:
    """The whole body. Raises ApiError 413 for more than `limit` bytes, announced or received, and
    ClientDisconnect.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def parse(body: bytes) -> Json:
    """The object that a body spells. Raises Invalid: RFC 8259 to the letter, in UTF-8."""
    if not body:
        raise Invalid([detail("missing", (), "Field required", None)])
    value = loads(body)
    if not isinstance(value, dict):
        raise Invalid([detail("model_attributes_type", (), NO_OBJECT, value)])
    return value


def loads(body: bytes) -> Any:
    """json.loads, less what Python adds to JSON."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        malformed(error.start, f"invalid UTF-8: {error.reason}")
    if is_deep(body):
        malformed(0, "nested too deeply")
    try:
        return json.loads(text, parse_constant=no_number)
    except json.JSONDecodeError as error:
        malformed(error.pos, error.msg)
    except ValueError:
        places = (m.start() for m in _NO_NUMBER.finditer(text) if m[1])
        malformed(next(places, 0), "not a number, or one of too many digits")


def no_number(name: str) -> NoReturn:
    """Python's JSON reads NaN, Infinity and -Infinity."""
    raise ValueError(name)


def malformed(position: int, why: str) -> NoReturn:
    """position: of the character (of the byte, if the bytes are no characters)."""
    error = detail("json_invalid", (position,), "JSON decode error", {}, {"error": why})
    raise Invalid([error])


def is_deep(body: bytes) -> bool:
    """Whether containers are nested more than MAX_DEPTH deep, by the brackets outside of strings.

    Before anything is parsed, and in few passes: a body may have millions of items.
    """
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    brackets = outside.translate(None, delete=NO_BRACKETS)
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def unknown(body: Json, known: Mapping[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """The paths of fields that nobody knows. known: the fields of each object, "" for the body."""
    found: list[tuple[str, ...]] = [(name,) for name in body if name not in known[""]]
    for parent, names in known.items():
        if parent and isinstance(inner := body.get(parent), dict):
            found += [(parent, name) for name in inner if name not in names]
    return found


def forbidden(body: Json, path: Sequence[str]) -> Detail:
    value = body[path[0]] if len(path) == 1 else body[path[0]][path[1]]
    return detail("extra_forbidden", path, "Extra inputs are not permitted", value)


def details(error: ValidationError) -> list[Detail]:
    """pydantic's errors, in the order of the fields."""
    errors = error.errors(include_url=False)[:MAX_ERRORS]
    return [detail(e["type"], plain(e["loc"]), e["msg"], e["input"], e.get("ctx")) for e in errors]


def plain(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path without the name of a union's branch."""
    return loc[:1] + loc[2:] if loc and loc[0] in UNIONS else loc


def detail(
    kind: str,
    path: Sequence[str | int],
    message: str,
    value: Any,
    context: Mapping[str, Any] | None = None,
) -> Detail:
    """One error. `input` is left out if it is long, or nothing that JSON can say."""
    loc = ["body", *(step if isinstance(step, int) else short(step) for step in path)]
    result: Detail = {"type": kind, "loc": loc, "msg": short(message)} | echo(value)
    if context:
        result["ctx"] = {k: v if is_short(v) else short(str(v)) for k, v in context.items()}
    return result


def echo(value: Any) -> Json:
    if isinstance(value, str):
        return {"input": short(value)}
    return {"input": value} if is_short(value) else {}


def short(text: str) -> str:
    """At most MAX_ECHO characters, all of which UTF-8 can encode."""
    cut = text if len(text) <= MAX_ECHO else text[: MAX_ECHO - 1] + "…"
    return cut.encode("utf-8", "replace").decode()


def is_short(value: Any) -> bool:
    """Whether it is JSON of at most MAX_ECHO characters; a longer one is not written out."""
    try:
        text = "".join(islice(_ENCODER.iterencode(value), MAX_ECHO + 1))
        return len(text.encode()) <= MAX_ECHO
    except (TypeError, ValueError):
        return False
