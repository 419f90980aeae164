"""What a `response_format` may ask for, made by chance: schemas, patterns and vocabularies.

Each function makes one from a `random.Random`: the strategies give it one that hypothesis controls
and makes simpler, and a long run gives it one with a seed. Most can be honoured; a few have no text
at all.
"""

import string
from random import Random
from typing import Any

from hypothesis import strategies as st

from reference.tokenizer.vocabulary import Vocabulary

Schema = dict[str, Any]

NAMES = ["a", "b", "name", "kind", "", "x/y", "m~n", 'say "x"', "é", "日本", "😀", "tab\t", "ab"]
VALUES: list[Any] = [None, True, False, 0, 1, -1, 2.5, 0.1, 1e3, "", "a", "b\n", "é😀", []]
VALUES += [[1, "a"], {}, {"a": [None]}, 12345678901234567890, "ab"]
FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4", "ipv6"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
DEPTH = 3

ATOMS = ["a", "b", "0", "-", " ", ".", "[ab]", "[^a]", "[a-c0]", "[^\\d]", "[^\\s\\w]", "\\n", "€"]
ATOMS += ["\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "😀", "[€-😀]", "(?s:.)", '"', "\\\\", "/"]
TIMES = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{0,3}", "{2,}", "{1,3}?"]


def pattern(rng: Random, depth: int = 2, atoms: list[str] = ATOMS) -> str:
    """A regular expression without an anchor."""
    parts = [piece(rng, depth, atoms) for _ in range(rng.randint(1, 3))]
    return "".join(parts)


def piece(rng: Random, depth: int, atoms: list[str]) -> str:
    kind = rng.choice(["atom", "atom", "times", "group", "group", "either"])
    if depth == 0 or kind == "atom":
        return rng.choice(atoms)
    if kind == "times":
        return rng.choice(atoms) + rng.choice(TIMES)
    inside = pattern(rng, depth - 1, atoms)
    if kind == "either":
        inside += "|" + rng.choice(["", pattern(rng, depth - 1, atoms)])
    opening = rng.choice(["(", "(?:"])
    return f"{opening}{inside}){rng.choice(['', '', *TIMES])}"


def anchored(rng: Random, atoms: list[str] = ATOMS) -> str:
    """A pattern with anchors or without, at the ends of the whole or of alternatives."""
    one, two, three = (pattern(rng, 1, atoms) for _ in range(3))
    forms = [one, f"^{one}", f"{one}$", f"^{one}$", f"^{one}|{two}$", f"^(?:{one}|{two})$"]
    forms += [f"(^{one}|{two}){three}", f"{one}({two}$|{three})", f"(?:^|{one}){two}", "^", "$", ""]
    return rng.choice(forms)


def schema(rng: Random) -> Schema:
    """A document. Half of them have definitions, that refer to themselves and to each other."""
    defs = [f"d{i}" for i in range(rng.choice([0, 0, 1, 2]))]
    references = [f"#/$defs/{name}" for name in defs] + (["#"] if defs else [])
    found = part(rng, DEPTH, references)
    if defs:
        makers = [array, record, union]
        found["$defs"] = {name: rng.choice(makers)(rng, DEPTH - 1, references) for name in defs}
    return found


def part(rng: Random, depth: int, references: list[str]) -> Schema:
    simple = [integer, number, text, text, listed, constant, word]
    nested = [array, record, record, union, one_of, all_of, several, nullable]
    kind = rng.choice(simple if depth == 0 else nested + simple)
    found = kind(rng, depth, references)
    if rng.random() < 0.1:
        found |= rng.choice([{"title": "T"}, {"description": "D"}, {"default": None}])
    return found


def inner(rng: Random, depth: int, references: list[str]) -> Schema | bool:
    """What need not be there: a part, a reference, or anything."""
    if references and rng.random() < 0.4:
        return {"$ref": rng.choice(references)}
    return True if rng.random() < 0.05 else part(rng, depth - 1, references)


def word(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"type": rng.choice(["null", "boolean", "string", "integer", "number"])}


def several(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"type": rng.sample(TYPES, rng.randint(1, 3)), "minimum": -5, "maxLength": 3}


def integer(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"type": "integer", **bounds(rng, rng.randint(-120, 1200), rng.randint(1, 300))}


def number(rng: Random, depth: int, references: list[str]) -> Schema:
    low = rng.randint(-2000, 2000) / rng.choice([1, 2, 10, 1000])
    width = rng.choice([0.25, 1, 10, 1000])
    return {"type": "number", **bounds(rng, low, width)}


def bounds(rng: Random, low: float, width: float) -> Schema:
    found: Schema = {}
    if rng.random() < 0.6:
        found[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.6:
        found[rng.choice(["maximum", "exclusiveMaximum"])] = low + width + 1
    return found


def text(rng: Random, depth: int, references: list[str]) -> Schema:
    found: Schema = {"type": "string"}
    kind = rng.choice(["free", "length", "pattern", "format", "both"])
    if kind == "length":
        found["minLength"] = rng.randint(0, 3)
        found["maxLength"] = found["minLength"] + rng.randint(0, 4)
    if kind == "format":
        found["format"] = rng.choice(FORMATS)
    if kind in ("pattern", "both"):
        found["pattern"] = anchored(rng)
    if kind == "both":
        found["maxLength"] = rng.randint(3, 8)
    return found


def listed(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"enum": rng.sample(VALUES, rng.randint(1, 4))}


def constant(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"const": rng.choice(VALUES)}


def nullable(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"anyOf": [inner(rng, depth, references), {"type": "null"}], "default": None}


def union(rng: Random, depth: int, references: list[str]) -> Schema:
    return {"anyOf": [{"type": "integer"}, inner(rng, depth, references), part(rng, 0, references)]}


def array(rng: Random, depth: int, references: list[str]) -> Schema:
    found: Schema = {"type": "array"}
    if rng.random() < 0.8:
        found["items"] = inner(rng, depth, references)
    if rng.random() < 0.3:
        count = rng.randint(1, 3)
        found["prefixItems"] = [part(rng, depth - 1, references) for _ in range(count)]
    least = rng.choice([0, 0, 1, 2]) if "$ref" not in str(found) else 0
    if least or rng.random() < 0.3:
        found["minItems"] = least
    if rng.random() < 0.4:
        found["maxItems"] = least + rng.randint(0, 3)
    return found


def record(
    rng: Random, depth: int, references: list[str], names: list[str] | None = None
) -> Schema:
    """An object. What is required refers to nothing."""
    properties: Schema = {}
    required = []
    for name in rng.sample(names or NAMES, rng.randint(0, 3)):
        if rng.random() < 0.5:
            required.append(name)
            properties[name] = part(rng, depth - 1, [])
        else:
            properties[name] = inner(rng, depth, references)
    found: Schema = {"type": "object"}
    if properties or rng.random() < 0.5:
        found["properties"] = properties
    if required:
        found["required"] = required
    if rng.random() < 0.6:
        found["additionalProperties"] = False
    elif rng.random() < 0.5:
        found["additionalProperties"] = inner(rng, depth, references)
    return found


def one_of(rng: Random, depth: int, references: list[str]) -> Schema:
    """Objects that a name tells apart, or types."""
    if rng.random() < 0.3:
        return {"oneOf": [{"type": "null"}, text(rng, depth, []), array(rng, depth, references)]}
    branches = []
    for kind in rng.sample(["x", "y", "z"], rng.randint(1, 3)):
        branch = record(rng, depth, references, ["a", "b", "é"])
        branch["properties"] = {"kind": {"const": kind}, **branch.get("properties", {})}
        branch["required"] = ["kind", *branch.get("required", [])]
        branches.append(branch)
    return {"oneOf": branches}


def all_of(rng: Random, depth: int, references: list[str]) -> Schema:
    """Objects with names of their own, and a few keywords beside them."""
    parts = [record(rng, depth, references, names) for names in (["a", "b", "é"], ["c", "d", ""])]
    for found in parts:
        if found.get("additionalProperties") is not True:
            found.pop("additionalProperties", None)
    return {"allOf": parts, **rng.choice([{}, {"type": "object"}, {"additionalProperties": True}])}


def response_format(rng: Random) -> dict[str, Any]:
    kind = rng.choice(["json_object", "regex", *["json_schema"] * 6])
    if kind == "regex":
        return {"type": kind, "regex": pattern(rng)}
    if kind == "json_schema":
        return {"type": kind, "json_schema": {"name": "chance", "schema": schema(rng)}}
    return {"type": kind}


SPECIAL, END = 3, 1  # how many tokens come first that are no text; the one of them that ends one
BYTES = [bytes([i]) for i in range(256)]
TEXTS = [*string.printable, '{"', '":', '": ', '", "', '"}', "},{", "}]", '""', "[]", "{}", "[["]
TEXTS += ["true", "null", "false", "tr", "ue", "12", "0.", "-1", "1e", "\\n", '\\"', "\\u", "::"]
TEXTS += ["\\ud83d\\ude00", "name", '"name', '"kind":"', "ab", "  ", "\n  ", "2024-", "00", "a\x00"]
TEXTS += [" ", " {", ' {"', " [", ' "', " 1", " null", " true", " a", " ab", "  1", '"é', "é", "日"]
TEXTS += ["😀", "€", "é😀", "日本"]
PARTS = [b"\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80", b"\xf0", b"\x9f\x98", b"\x80", b"\xe6\x97"]
PARTS += [b"\xa5", b'\xa9"', b"a\xc3", b'"\xf0', b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x80\x80"]
PIECES = [text.encode() for text in TEXTS] + PARTS


def vocabulary(rng: Random) -> Vocabulary:
    """Single bytes, all of them or few; pieces of JSON, of characters, with a space in front; some
    twice, and some that are no text.
    """
    singles = BYTES if rng.random() < 0.4 else rng.sample(BYTES, rng.randint(0, 20))
    pieces = [*singles, *rng.sample(PIECES, rng.randint(5, 40))]
    pieces += [rng.choice(pieces) for _ in range(rng.randint(0, 5))]
    rng.shuffle(pieces)
    ids = range(SPECIAL + len(pieces))
    never = {*range(SPECIAL), *(rng.choice(ids) for _ in range(rng.randint(0, 4)))}
    return Vocabulary(
        pieces=(b"",) * SPECIAL + tuple(pieces),
        never=frozenset(never),
        bos_id=rng.choice([None, 0]),
        leading_space=rng.random() < 0.5,
    )


def chance() -> st.SearchStrategy[Random]:
    return st.randoms(use_true_random=False)


def schemas() -> st.SearchStrategy[Schema]:
    return chance().map(schema)


def patterns() -> st.SearchStrategy[str]:
    return chance().map(pattern)


def response_formats() -> st.SearchStrategy[dict[str, Any]]:
    return chance().map(response_format)


def vocabularies() -> st.SearchStrategy[Vocabulary]:
    return chance().map(vocabulary)
