"""From pydantic's errors to the details of a 422, in the form of FastAPI:

    {"detail": [{"type", "loc": ["body", …], "msg", "input"?, "ctx"?}]}

Whatever an error echoes of the body is short and valid JSON.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError

from api.errors import InvalidRequest
from api.schema.request import CompletionRequest

MAX_ERRORS = 100
MAX_ECHO = 200  # characters

# Unions for which pydantic's `loc` also names the branch; ours is a path in the JSON document.
UNIONS = frozenset({"prompt", "stop", "response_format"})

Json = dict[str, Any]

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def validate(
    model: type[CompletionRequest], body: Json, forbidden: Sequence[Sequence[str]]
) -> CompletionRequest:
    """Validate a body.

    Raises InvalidRequest with every error: first those of the fields, in order, then one for each
    forbidden path that the body has.
    """
    extra = [forbidden_field(body, path) for path in islice(forbidden, MAX_ERRORS)]
    try:
        result = model.model_validate(body, from_attributes=True)
    except ValidationError as error:
        raise InvalidRequest(error_details(error) + extra) from None
    if extra:
        raise InvalidRequest(extra)
    return result


def forbidden_field(body: Json, path: Sequence[str]) -> Json:
    value = body[path[0]] if len(path) == 1 else body[path[0]][path[1]]
    return error_detail("extra_forbidden", path, "Extra inputs are not permitted", value)


def error_details(error: ValidationError) -> list[Json]:
    """Convert pydantic's errors, in the order of the fields."""
    return [
        error_detail(e["type"], without_branch(e["loc"]), e["msg"], e["input"], e.get("ctx"))
        for e in error.errors(include_url=False)[:MAX_ERRORS]
    ]


def without_branch(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Remove the name of a union's branch from a path."""
    return loc[:1] + loc[2:] if loc and loc[0] in UNIONS else loc


def error_detail(
    kind: str,
    path: Sequence[str | int],
    message: str,
    value: Any,
    context: Mapping[str, Any] | None = None,
) -> Json:
    """Return one error. `input` is left out if it is long or cannot be written as JSON."""
    loc = ["body", *(step if isinstance(step, int) else shorten(step) for step in path)]
    result: Json = {"type": kind, "loc": loc, "msg": shorten(message)} | echo_input(value)
    if context:
        result["ctx"] = {k: v if is_short(v) else shorten(str(v)) for k, v in context.items()}
    return result


def echo_input(value: Any) -> Json:
    if isinstance(value, str):
        return {"input": shorten(value)}
    return {"input": value} if is_short(value) else {}


def shorten(text: str) -> str:
    """Cut a text to MAX_ECHO characters, and replace characters that UTF-8 cannot encode."""
    cut = text if len(text) <= MAX_ECHO else text[: MAX_ECHO - 1] + "…"
    return cut.encode("utf-8", "replace").decode()


def is_short(value: Any) -> bool:
    """Return whether a value is JSON of at most MAX_ECHO bytes. Stops encoding a longer one."""
    try:
        text = "".join(islice(_ENCODER.iterencode(value), MAX_ECHO + 1))
        return len(text.encode()) <= MAX_ECHO
    except (TypeError, ValueError):
        return False
