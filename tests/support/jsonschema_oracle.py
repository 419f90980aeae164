"""What `jsonschema` and the standard library say of a text, strictly."""

import json
import re
from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

CHECKER = FormatChecker(formats=["date", "email", "ipv4", "ipv6", "uuid"])
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII | re.DOTALL
)


@CHECKER.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    """`jsonschema` asks a package that need not be there. `datetime` knows no leap seconds."""
    if not isinstance(value, str):
        return True
    known = re.sub(r":60(?=[.Zz+-])", ":59", value).upper()
    return bool(RFC_3339.fullmatch(value)) and datetime.fromisoformat(known).tzinfo is not None


@CHECKER.checks("time", raises=ValueError)
def is_time(value: object) -> bool:
    """`FormatChecker` has the one of draft 3, which knows no time zone."""
    return not isinstance(value, str) or is_date_time(f"2000-01-01T{value}")


def no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def loads(text: str) -> Any:
    """Raises ValueError for NaN and Infinity too."""
    return json.loads(text, parse_constant=no_constant)


def is_instance(schema: Any, text: str) -> bool:
    """Whether a text is JSON, and an instance of a schema."""
    try:
        value = loads(text)
    except ValueError:
        return False
    return bool(Draft202012Validator(schema, format_checker=CHECKER).is_valid(value))
