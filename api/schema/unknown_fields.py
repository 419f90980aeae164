"""Unknown fields of a body.

They have no effect and are listed in the header `x-ignored-parameters`; in strict mode each is an
error.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from api.schema.request import FORMATS, CompletionRequest, Data, StreamOptions

MAX_HEADER = 1000  # characters of x-ignored-parameters


def field_names(*models: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for model in models for name in model.model_fields)


# The known fields of each object; "" is the body itself.
KNOWN_FIELDS: Mapping[str, frozenset[str]] = {
    "": field_names(CompletionRequest),
    "response_format": field_names(*FORMATS),
    "stream_options": field_names(StreamOptions),
    "data": field_names(Data),
}


def unknown_fields(body: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the paths of unknown fields: of the body, then of each object in it."""
    paths: list[tuple[str, ...]] = [(name,) for name in body if name not in KNOWN_FIELDS[""]]
    for parent, names in KNOWN_FIELDS.items():
        if parent and isinstance(inner := body.get(parent), dict):
            paths += [(parent, name) for name in inner if name not in names]
    return paths


def ignored_header(paths: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the header `x-ignored-parameters`: percent-encoded names, separated by commas.

    It ends with "..." if not all names fit. Without paths there is no header.
    """
    names, length = [], 0
    for path in paths:
        name = ".".join(quote(part[:MAX_HEADER], safe="", errors="replace") for part in path)
        length += len(name) + 1
        if length > MAX_HEADER:
            names.append("...")
            break
        names.append(name)
    return {"x-ignored-parameters": ",".join(names)} if names else {}
