"""The keywords of JSON Schema that are honoured, and what their values must look like."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from reference.grammar.language.errors import SchemaError
from reference.grammar.language.formats import FORMATS

ALL_TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
APPLICATORS = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
ANNOTATIONS = frozenset(
    {
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentEncoding",
        "contentMediaType",
    }
)
MOST_LENGTH = 100_000
MOST_ITEMS = 10_000
MOST_LISTED = 500
MOST_BRANCHES = 50  # of `oneOf`: each is compared with each
MOST_TEXT = 10_000  # bytes of a value
MOST_NAME = 500  # characters


def is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_type(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(n, str) and n in ALL_TYPES for n in names)


def is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        return isinstance(value, list) and len(value) <= MOST_LISTED and all(map(of, value))

    return fits


def is_value(value: Any) -> bool:
    """Of `enum` and `const`: what can be written as JSON that others read, and is not too long."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return len(text) <= MOST_TEXT


def is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MOST_NAME and is_value(value)


def some_schemas(value: Any) -> bool:
    return is_list(is_schema)(value) and bool(value)


def named_schemas(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and is_list(is_name)(list(value))
        and all(map(is_schema, value.values()))
    )


def up_to(most: int) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        return is_number(value) and value == int(value) and 0 <= value <= most

    return fits


SCHEMA, NUMBER = (is_schema, "a schema"), (is_number, "a number")
SCHEMAS = (some_schemas, f"a list of 1 to {MOST_LISTED} schemas")
LENGTH = (up_to(MOST_LENGTH), f"a whole number from 0 to {MOST_LENGTH}")
ITEMS = (up_to(MOST_ITEMS), f"a whole number from 0 to {MOST_ITEMS}")

KEYWORDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "type": (is_type, f"one or several of {', '.join(sorted(ALL_TYPES))}"),
    "enum": (lambda v: is_list(is_value)(v) and bool(v), f"a list of 1 to {MOST_LISTED} values"),
    "const": (is_value, "a value"),
    "properties": (named_schemas, f"an object of at most {MOST_LISTED} schemas"),
    "required": (is_list(is_name), f"a list of at most {MOST_LISTED} names"),
    "additionalProperties": SCHEMA,
    "items": SCHEMA,
    "prefixItems": SCHEMAS,
    "minItems": ITEMS,
    "maxItems": ITEMS,
    "minLength": LENGTH,
    "maxLength": LENGTH,
    "pattern": (is_text, "a regular expression"),
    "format": (lambda v: isinstance(v, str) and v in FORMATS, f"one of {', '.join(FORMATS)}"),
    "minimum": NUMBER,
    "maximum": NUMBER,
    "exclusiveMinimum": NUMBER,
    "exclusiveMaximum": NUMBER,
    "$ref": (is_text, "a reference"),
    "allOf": SCHEMAS,
    "anyOf": SCHEMAS,
    "oneOf": (
        lambda v: some_schemas(v) and len(v) <= MOST_BRANCHES,
        f"a list of 1 to {MOST_BRANCHES} schemas",
    ),
}
CONSTRAINTS = frozenset(KEYWORDS) - APPLICATORS


def check(place: str, schema: Mapping[str, Any]) -> None:
    """Raise SchemaError for a keyword that is not honoured, and for a value that is none of its
    own.
    """
    for keyword, value in schema.items():
        here = f"{place}/{keyword.replace('~', '~0').replace('/', '~1')}"
        if keyword in KEYWORDS:
            fits, expected = KEYWORDS[keyword]
            if not fits(value):
                raise SchemaError(here, f"{keyword} must be {expected}")
        elif keyword in ("$schema", "$id") and not place and is_text(value):
            continue
        elif keyword not in ANNOTATIONS:
            raise SchemaError(here, f"the keyword {keyword} is not supported")
