"""Random `response_format`s: schemas, patterns, and vocabularies to enforce them with.

Each function builds one from a `random.Random`. The strategies pass one that hypothesis controls
and shrinks; a long run passes a seeded one. Most formats are supported; a few allow no text at all.
"""

import string
from random import Random
from typing import Any

from hypothesis import strategies as st

from conformance.parity.pattern_strategies import NAME_ATOMS, anchored, looking_ahead, pattern
from reference.tokenizer.vocabulary import Vocabulary

Schema = dict[str, Any]

NAMES = ["a", "b", "name", "kind", "", "x/y", "m~n", 'say "x"', "é", "日本", "😀", "tab\t", "ab"]
VALUES: list[Any] = [None, True, False, 0, 1, -1, 2.5, 0.1, 1e3, "", "a", "b\n", "é😀", []]
VALUES += [[1, "a"], {}, {"a": [None]}, 12345678901234567890, "ab"]
FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4", "ipv6"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
DEPTH = 3


def schema(rng: Random) -> Schema:
    """A schema document. Half of them have definitions that refer to each other or themselves."""
    defs = [f"d{i}" for i in range(rng.choice([0, 0, 1, 2]))]
    references = [f"#/$defs/{name}" for name in defs] + (["#"] if defs else [])
    document = subschema(rng, DEPTH, references)
    if defs:
        makers = [array, object_schema, any_of]
        document["$defs"] = {name: rng.choice(makers)(rng, DEPTH - 1, references) for name in defs}
    return document


def subschema(rng: Random, depth: int, references: list[str]) -> Schema:
    """A schema that must be present. references: targets of `$ref`."""
    simple = [integer, number, text, text, enum, constant, any_scalar_type]
    nested = [array, object_schema, object_schema, any_of, one_of, all_of, several_types, nullable]
    nested += [mapping, unique_array]
    make = rng.choice(simple if depth == 0 else nested + simple)
    schema = make(rng, depth, references)
    if rng.random() < 0.1:
        schema |= rng.choice([{"title": "T"}, {"description": "D"}, {"default": None}])
    return schema


def optional_subschema(rng: Random, depth: int, references: list[str]) -> Schema | bool:
    """A schema that may be absent: a subschema, a reference, or `true`."""
    if references and rng.random() < 0.4:
        return {"$ref": rng.choice(references)}
    return True if rng.random() < 0.05 else subschema(rng, depth - 1, references)


def any_scalar_type(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"type": rng.choice(["null", "boolean", "string", "integer", "number"])}


def several_types(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"type": rng.sample(TYPES, rng.randint(1, 3)), "minimum": -5, "maxLength": 3}


def integer(rng: Random, depth: int, references: list[str]) -> Schema:
    schema = {"type": "integer", **bounds(rng, rng.randint(-120, 1200), rng.randint(1, 300))}
    return schema | multiple(rng, [1, 2, 3, 7, 10, 12, 0.5, 1.5])


def number(rng: Random, depth: int, references: list[str]) -> Schema:
    low = rng.randint(-2000, 2000) / rng.choice([1, 2, 10, 1000])
    span = rng.choice([0.25, 1, 10, 1000])
    return {"type": "number", **bounds(rng, low, span), **multiple(rng, [0.125, 0.5, 2.5, 3])}


def multiple(rng: Random, steps: list[float]) -> Schema:
    """Sometimes a `multipleOf`."""
    return {"multipleOf": rng.choice(steps)} if rng.random() < 0.3 else {}


def bounds(rng: Random, low: float, span: float) -> Schema:
    """A lower bound, an upper bound, both or neither."""
    schema: Schema = {}
    if rng.random() < 0.6:
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.6:
        schema[rng.choice(["maximum", "exclusiveMaximum"])] = low + span + 1
    return schema


def text(rng: Random, depth: int, references: list[str]) -> Schema:
    schema: Schema = {"type": "string"}
    kind = rng.choice(["free", "length", "pattern", "format", "both"])
    if kind == "length":
        schema["minLength"] = rng.randint(0, 3)
        schema["maxLength"] = schema["minLength"] + rng.randint(0, 4)
    if kind == "format":
        schema["format"] = rng.choice(FORMATS)
    if kind in ("pattern", "both"):
        schema["pattern"] = rng.choice([anchored, anchored, looking_ahead])(rng)
    if kind == "both":
        schema["maxLength"] = rng.randint(3, 8)
    return schema


def enum(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"enum": rng.sample(VALUES, rng.randint(1, 4))}


def constant(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"const": rng.choice(VALUES)}


def nullable(rng: Random, depth: int, references: list[str]) -> Schema:
    return {
        "anyOf": [optional_subschema(rng, depth, references), {"type": "null"}],
        "default": None,
    }


def any_of(rng: Random, depth: int, references: list[str]) -> Schema:
    return {
        "anyOf": [
            {"type": "integer"},
            optional_subschema(rng, depth, references),
            subschema(rng, 0, references),
        ]
    }


def array(rng: Random, depth: int, references: list[str]) -> Schema:
    schema: Schema = {"type": "array"}
    if rng.random() < 0.8:
        schema["items"] = optional_subschema(rng, depth, references)
    if rng.random() < 0.3:
        count = rng.randint(1, 3)
        schema["prefixItems"] = [subschema(rng, depth - 1, references) for _ in range(count)]
    min_items = rng.choice([0, 0, 1, 2]) if "$ref" not in str(schema) else 0
    if min_items or rng.random() < 0.3:
        schema["minItems"] = min_items
    if rng.random() < 0.4:
        schema["maxItems"] = min_items + rng.randint(0, 3)
    return schema


def object_schema(
    rng: Random, depth: int, references: list[str], names: list[str] | None = None
) -> Schema:
    """Objects. A required property has no reference, which might never end."""
    properties: Schema = {}
    required = []
    for name in rng.sample(names or NAMES, rng.randint(0, 3)):
        if rng.random() < 0.5:
            required.append(name)
            properties[name] = subschema(rng, depth - 1, [])
        else:
            properties[name] = optional_subschema(rng, depth, references)
    schema: Schema = {"type": "object"}
    if properties or rng.random() < 0.5:
        schema["properties"] = properties
    if rng.random() < 0.2:
        schema["minProperties"] = rng.randint(0, len(properties))
    if rng.random() < 0.2:
        schema["maxProperties"] = len(required) + rng.randint(0, 2)
    if required:
        schema["required"] = required
    if rng.random() < 0.6:
        schema["additionalProperties"] = False
    elif rng.random() < 0.5:
        schema["additionalProperties"] = optional_subschema(rng, depth, references)
    return schema


def mapping(rng: Random, depth: int, references: list[str]) -> Schema:
    """Objects whose names have patterns, or a schema."""
    schema = object_schema(rng, depth, references)
    if rng.random() < 0.6:
        patterns = [anchored(rng, NAME_ATOMS) for _ in range(rng.randint(1, 2))]
        schema["patternProperties"] = {
            p: optional_subschema(rng, depth, references) for p in patterns
        }
    if rng.random() < 0.5:
        names = [{"enum": rng.sample(NAMES, 3)}, {"maxLength": 2}, {"pattern": "^(?!a)"}, True]
        schema["propertyNames"] = rng.choice(names)
    return schema


def unique_array(rng: Random, depth: int, references: list[str]) -> Schema:
    """Arrays of different items."""
    items = rng.choice([enum(rng, depth, references), {"type": ["null", "boolean"]}])
    return {"type": "array", "items": items, "uniqueItems": True, "minItems": rng.randint(0, 1)}


def one_of(rng: Random, depth: int, references: list[str]) -> Schema:
    """Disjoint branches: objects with a discriminator, or different types."""
    if rng.random() < 0.3:
        return {"oneOf": [{"type": "null"}, text(rng, depth, []), array(rng, depth, references)]}
    branches = []
    for kind in rng.sample(["x", "y", "z"], rng.randint(1, 3)):
        branch = object_schema(rng, depth, references, ["a", "b", "é"])
        branch["properties"] = {"kind": {"const": kind}, **branch.get("properties", {})}
        branch["required"] = ["kind", *branch.get("required", [])]
        branches.append(branch)
    annotation = {"discriminator": {"propertyName": "kind"}} if rng.random() < 0.3 else {}
    return {"oneOf": branches, **annotation}


def all_of(rng: Random, depth: int, references: list[str]) -> Schema:
    """Objects with different names, and sometimes a further keyword."""
    parts = [
        object_schema(rng, depth, references, names) for names in (["a", "b", "é"], ["c", "d", ""])
    ]
    for part in parts:
        if part.get("additionalProperties") is not True:
            part.pop("additionalProperties", None)
    return {"allOf": parts, **rng.choice([{}, {"type": "object"}, {"additionalProperties": True}])}


def response_format(rng: Random) -> dict[str, Any]:
    """A `response_format`, most often a schema."""
    kind = rng.choice(["json_object", "regex", *["json_schema"] * 6])
    if kind == "regex":
        regex = looking_ahead(rng) if rng.random() < 0.3 else pattern(rng)
        return {"type": kind, "regex": regex}
    if kind == "json_schema":
        return {"type": kind, "json_schema": {"name": "random", "schema": schema(rng)}}
    return {"type": kind}


SPECIAL_TOKENS = 3  # ids 0, 1 and 2
EOS = 1
SINGLE_BYTES = [bytes([i]) for i in range(256)]
TEXTS = [*string.printable, '{"', '":', '": ', '", "', '"}', "},{", "}]", '""', "[]", "{}", "[["]
TEXTS += ["true", "null", "false", "tr", "ue", "12", "0.", "-1", "1e", "\\n", '\\"', "\\u", "::"]
TEXTS += ["\\ud83d\\ude00", "name", '"name', '"kind":"', "ab", "  ", "\n  ", "2024-", "00", "a\x00"]
TEXTS += [" ", " {", ' {"', " [", ' "', " 1", " null", " true", " a", " ab", "  1", '"é', "é", "日"]
TEXTS += ["😀", "€", "é😀", "日本"]
INCOMPLETE = [
    b"\xc3",
    b"\xa9",
    b"\xf0\x9f",
    b"\x98\x80",
    b"\xf0",
    b"\x9f\x98",
    b"\x80",
    b"\xe6\x97",
]
INCOMPLETE += [
    b"\xa5",
    b'\xa9"',
    b"a\xc3",
    b'"\xf0',
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\x80\x80",
]
PIECES = [text.encode() for text in TEXTS] + INCOMPLETE


def vocabulary(rng: Random) -> Vocabulary:
    """A vocabulary: all or few single bytes, and pieces of JSON and of characters, with or without
    a leading space. Some pieces occur twice, and some are disallowed, always or under a grammar.
    """
    singles = SINGLE_BYTES if rng.random() < 0.4 else rng.sample(SINGLE_BYTES, rng.randint(0, 20))
    pieces = [*singles, *rng.sample(PIECES, rng.randint(5, 40))]
    pieces += [rng.choice(pieces) for _ in range(rng.randint(0, 5))]
    rng.shuffle(pieces)
    ids = range(SPECIAL_TOKENS + len(pieces))
    disallowed = {*range(SPECIAL_TOKENS), *(rng.choice(ids) for _ in range(rng.randint(0, 4)))}
    return Vocabulary(
        pieces=(b"",) * SPECIAL_TOKENS + tuple(pieces),
        disallowed_token_ids=frozenset(disallowed),
        bos_id=rng.choice([None, 0]),
        leading_space=rng.random() < 0.5,
        space_after=frozenset({2}) if rng.random() < 0.3 else frozenset(),
        context_dependent_ids=frozenset(rng.choice(ids) for _ in range(rng.randint(0, 4))),
    )


def randoms() -> st.SearchStrategy[Random]:
    """Random number generators that hypothesis controls."""
    return st.randoms(use_true_random=False)


def schemas() -> st.SearchStrategy[Schema]:
    return randoms().map(schema)


def patterns() -> st.SearchStrategy[str]:
    """Regular expressions without anchors."""
    return randoms().map(pattern)


def response_formats() -> st.SearchStrategy[dict[str, Any]]:
    return randoms().map(response_format)


def vocabularies() -> st.SearchStrategy[Vocabulary]:
    return randoms().map(vocabulary)
