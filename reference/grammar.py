"""`response_format`: what the text must be."""

from collections.abc import Mapping
from typing import Any


class UnsupportedFormat(ValueError):
    """A response_format that is understood and cannot be honoured."""


def check(response_format: Mapping[str, Any] | None) -> None:
    """Raise UnsupportedFormat unless every text is allowed: null or {"type": "text"}.

    The other formats of the contract (json_object, json_schema, regex) are refused: a promise about
    the text is kept or not made.
    """
    kind = "text" if response_format is None else response_format.get("type")
    if kind != "text":
        raise UnsupportedFormat(f"response_format: {kind!r} is not supported yet; 'text' is")
