"""The supported keywords of JSON Schema, and the form of their values."""

import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from reference.grammar.language.errors import SchemaError
from reference.grammar.language.formats import FORMATS
from reference.grammar.language.multiples import STEP_DESCRIPTION, is_decidable_step

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
MAX_LENGTH = 100_000
MAX_ITEMS = 10_000
MAX_LIST_LENGTH = 500
MAX_BRANCHES = 50  # of `oneOf`: every two of them are compared
MAX_VALUE_BYTES = 10_000  # of the JSON text
MAX_NAME_LENGTH = 500  # characters


def is_schema(value: Any) -> bool:
    """Return whether the value may be a schema."""
    return isinstance(value, dict | bool)


def is_number(value: Any) -> bool:
    """Return whether the value is a finite number."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_step(value: Any) -> bool:
    """Return whether the value may be a `multipleOf`."""
    return is_number(value) and value > 0 and is_decidable_step(Fraction(value))


def is_discriminator(value: Any) -> bool:
    """Return whether the value is OpenAPI's annotation of a combination: which property tells the
    branches apart.
    """
    return isinstance(value, dict) and is_text(value.get("propertyName"))


def is_text(value: Any) -> bool:
    """Return whether the value is a string."""
    return isinstance(value, str)


def is_type(value: Any) -> bool:
    """Return whether the value is the name of a type, or a list of them."""
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(n, str) and n in ALL_TYPES for n in names)


def is_list(is_item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return a predicate for lists of such items."""

    def is_valid(value: Any) -> bool:
        return (
            isinstance(value, list) and len(value) <= MAX_LIST_LENGTH and all(map(is_item, value))
        )

    return is_valid


def is_value(value: Any) -> bool:
    """Return whether the value can be written as portable JSON of limited length, as the values of
    `enum` and `const` must be.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return len(text) <= MAX_VALUE_BYTES


def is_name(value: Any) -> bool:
    """Return whether the value may be the name of a property."""
    return isinstance(value, str) and len(value) <= MAX_NAME_LENGTH and is_value(value)


def is_schema_list(value: Any) -> bool:
    """Return whether the value is a list of schemas that is not empty."""
    return is_list(is_schema)(value) and bool(value)


def is_schema_map(value: Any) -> bool:
    """Return whether the value is an object of schemas."""
    return (
        isinstance(value, dict)
        and is_list(is_name)(list(value))
        and all(map(is_schema, value.values()))
    )


def is_count(maximum: int) -> Callable[[Any], bool]:
    """Return a predicate for integers from 0 to a maximum."""

    def is_valid(value: Any) -> bool:
        return is_number(value) and value == int(value) and 0 <= value <= maximum

    return is_valid


SCHEMA, NUMBER = (is_schema, "a schema"), (is_number, "a number")
SCHEMAS = (is_schema_list, f"a list of 1 to {MAX_LIST_LENGTH} schemas")
LENGTH = (is_count(MAX_LENGTH), f"an integer from 0 to {MAX_LENGTH}")
ITEMS = (is_count(MAX_ITEMS), f"an integer from 0 to {MAX_ITEMS}")

# keyword → (predicate of its value, description for the error message)
KEYWORDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "type": (is_type, f"one or several of {', '.join(sorted(ALL_TYPES))}"),
    "enum": (
        lambda v: is_list(is_value)(v) and bool(v),
        f"a list of 1 to {MAX_LIST_LENGTH} values",
    ),
    "const": (is_value, "a value"),
    "properties": (is_schema_map, f"an object of at most {MAX_LIST_LENGTH} schemas"),
    "required": (is_list(is_name), f"a list of at most {MAX_LIST_LENGTH} names"),
    "additionalProperties": SCHEMA,
    "patternProperties": (is_schema_map, f"an object of at most {MAX_LIST_LENGTH} schemas"),
    "propertyNames": SCHEMA,
    "minProperties": ITEMS,
    "maxProperties": ITEMS,
    "items": SCHEMA,
    "prefixItems": SCHEMAS,
    "minItems": ITEMS,
    "maxItems": ITEMS,
    "uniqueItems": (lambda v: isinstance(v, bool), "a boolean"),
    "minLength": LENGTH,
    "maxLength": LENGTH,
    "pattern": (is_text, "a regular expression"),
    "format": (lambda v: isinstance(v, str) and v in FORMATS, f"one of {', '.join(FORMATS)}"),
    "minimum": NUMBER,
    "maximum": NUMBER,
    "exclusiveMinimum": NUMBER,
    "exclusiveMaximum": NUMBER,
    "multipleOf": (is_step, f"a positive {STEP_DESCRIPTION}"),
    "$ref": (is_text, "a reference"),
    "allOf": SCHEMAS,
    "anyOf": SCHEMAS,
    "oneOf": (
        lambda v: is_schema_list(v) and len(v) <= MAX_BRANCHES,
        f"a list of 1 to {MAX_BRANCHES} schemas",
    ),
}
CONSTRAINT_KEYWORDS = frozenset(KEYWORDS) - APPLICATORS


def check(pointer: str, schema: Mapping[str, Any]) -> None:
    """Raise SchemaError for an unsupported keyword, and for a value of the wrong form."""
    for keyword, value in schema.items():
        location = f"{pointer}/{keyword.replace('~', '~0').replace('/', '~1')}"
        if keyword in KEYWORDS:
            is_valid, expected = KEYWORDS[keyword]
            if not is_valid(value):
                raise SchemaError(location, f"{keyword} must be {expected}")
        elif keyword == "discriminator" and APPLICATORS & schema.keys() and is_discriminator(value):
            continue
        elif keyword in ("$schema", "$id") and not pointer and is_text(value):
            continue
        elif keyword not in ANNOTATIONS:
            raise SchemaError(location, f"the keyword {keyword} is not supported")
