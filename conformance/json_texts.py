"""JSON texts, whole and cut off, and whether one is an instance of a schema."""

import json
import re
from collections.abc import Mapping
from itertools import product
from typing import Any

STRING = r'(?s:"(?:[^"\\]|\\.)*(?:"|\\?$))'
TAILS = tuple(word[i:] for word in ("true", "false", "null") for i in range(1, len(word)))
PAIRS = ("", ":0", '":0')


def value_of(text: str) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(text, parse_constant=no_constant)
    except ValueError:
        return None


def no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def is_object(text: str) -> bool:
    return isinstance(value_of(text), dict)


def begins_an_object(text: str) -> bool:
    """Whether some end makes it one: what may be missing of a string, a number or a word, then of
    a pair, then the brackets.
    """
    closing = brackets(text)
    tokens = ("", '"', 'n"', *("0" * i + '"' for i in range(1, 5)), "0", ".0", *TAILS)
    return not text.strip() or any(
        is_object(text + token + pair + closing) for token, pair in product(tokens, PAIRS)
    )


def begins_a_value(text: str) -> bool:
    return begins_an_object('{"":' + text)


def brackets(text: str) -> str:
    """Those that close what is open outside of strings."""
    found: list[str] = []
    for mark in re.findall(rf"{STRING}|[{{}}\[\]]", text):
        if mark in "{[":
            found.append("}" if mark == "{" else "]")
        elif mark in "}]" and found:
            found.pop()
    return "".join(reversed(found))


def without_strings(text: str) -> str:
    """With an empty string in the place of each."""
    return re.sub(STRING, '""', text)


def is_instance(text: str, of: Any) -> bool:
    """Whether a whole text is JSON, and an instance of a schema."""
    try:
        value = json.loads(text, parse_constant=no_constant)
    except ValueError:
        return False
    return fits(value, of, of)


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Whether a value is an instance of a schema of the document `root`: as far as the keywords go
    that the checks use. Raises KeyError for any other.
    """
    if isinstance(schema, bool):
        return schema
    return all(KEYWORDS[name](value, schema, root) for name in schema)


def is_type(value: Any, name: str) -> bool:
    """To JSON Schema 1.0 is an integer, and true is no number."""
    if isinstance(value, bool) or name == "boolean":
        return isinstance(value, bool) and name == "boolean"
    if name == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, TYPES[name])


TYPES: Mapping[str, Any] = {
    "null": type(None),
    "number": int | float,
    "string": str,
    "array": list,
    "object": dict,
}


def same(one: Any, other: Any) -> bool:
    """Of two values that are no lists and no objects."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def only(kind: str, holds: Any) -> Any:
    """A keyword that says something of one type only."""
    return lambda value, schema, root: not is_type(value, kind) or holds(value, schema, root)


def properties(value: dict[str, Any], schema: Any, root: Any) -> bool:
    """Also `additionalProperties` and `patternProperties`."""
    listed, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, part in value.items():
        parts = [listed[name]] if name in listed else []
        parts += [other for pattern, other in patterns.items() if re.search(pattern, name)]
        parts = parts or [schema.get("additionalProperties", True)]
        if not all(fits(part, other, root) for other in parts):
            return False
    return True


def referred(root: Any, pointer: str) -> Any:
    for name in pointer.removeprefix("#").split("/")[1:]:
        root = root[name]
    return root


def number_of(value: Any, schemas: Any, root: Any) -> int:
    """How many of several schemas it is an instance of."""
    return sum(fits(value, schema, root) for schema in schemas)


def unique(values: list[Any]) -> bool:
    return not any(same(a, b) for i, a in enumerate(values) for b in values[:i])


def anything(value: Any, schema: Any, root: Any) -> bool:
    return True


KEYWORDS: Mapping[str, Any] = {
    "$defs": anything,
    "then": anything,
    "$ref": lambda v, s, root: fits(v, referred(root, s["$ref"]), root),
    "type": lambda v, s, root: any(
        is_type(v, name) for name in ([s["type"]] if isinstance(s["type"], str) else s["type"])
    ),
    "enum": lambda v, s, root: any(same(v, other) for other in s["enum"]),
    "const": lambda v, s, root: same(v, s["const"]),
    "not": lambda v, s, root: not fits(v, s["not"], root),
    "if": lambda v, s, root: not fits(v, s["if"], root) or fits(v, s["then"], root),
    "anyOf": lambda v, s, root: number_of(v, s["anyOf"], root) > 0,
    "oneOf": lambda v, s, root: number_of(v, s["oneOf"], root) == 1,
    "minimum": only("number", lambda v, s, root: v >= s["minimum"]),
    "maximum": only("number", lambda v, s, root: v <= s["maximum"]),
    "multipleOf": only("number", lambda v, s, root: v % s["multipleOf"] == 0),
    "minLength": only("string", lambda v, s, root: len(v) >= s["minLength"]),
    "maxLength": only("string", lambda v, s, root: len(v) <= s["maxLength"]),
    "pattern": only("string", lambda v, s, root: re.search(s["pattern"], v)),
    "minItems": only("array", lambda v, s, root: len(v) >= s["minItems"]),
    "maxItems": only("array", lambda v, s, root: len(v) <= s["maxItems"]),
    "items": only("array", lambda v, s, root: all(fits(i, s["items"], root) for i in v)),
    "contains": only("array", lambda v, s, root: any(fits(i, s["contains"], root) for i in v)),
    "uniqueItems": only("array", lambda v, s, root: not s["uniqueItems"] or unique(v)),
    "required": only("object", lambda v, s, root: set(s["required"]) <= v.keys()),
    "properties": only("object", properties),
    "additionalProperties": only("object", properties),
    "patternProperties": only("object", properties),
}
