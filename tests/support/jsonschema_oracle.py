"""Strict JSON Schema validation with `jsonschema` and the standard library."""

import json
import re
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

CHECKER = FormatChecker(formats=["date", "email", "ipv4", "ipv6", "uuid"])
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII | re.DOTALL
)


@CHECKER.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    """Check a date-time. `jsonschema` would need a further package. `datetime` has no leap seconds,
    and accepts an offset of 60 minutes.
    """
    if not isinstance(value, str):
        return True
    without_leap_second = re.sub(r":60(?=[.Zz+-])", ":59", value).upper()
    return (
        bool(RFC_3339.fullmatch(value))
        and datetime.fromisoformat(without_leap_second).tzinfo is not None
    )


@CHECKER.checks("time", raises=ValueError)
def is_time(value: object) -> bool:
    """Check a time. `FormatChecker` has draft 3's, which has no time zone."""
    return not isinstance(value, str) or is_date_time(f"2000-01-01T{value}")


def reject_constant(text: str) -> Any:
    """Raise ValueError for NaN and Infinity."""
    raise ValueError(f"{text} is not JSON")


def loads(text: str) -> Any:
    """Parse JSON. Raises ValueError, for NaN and Infinity too."""
    return json.loads(text, parse_constant=reject_constant)


def is_instance(schema: Any, text: str) -> bool:
    """Return whether a text is JSON and an instance of a schema."""
    try:
        value = loads(text)
    except ValueError:
        return False
    return bool(Draft202012Validator(schema, format_checker=CHECKER).is_valid(value))
