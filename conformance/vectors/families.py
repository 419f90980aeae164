"""The type of a family of cases, and JSON Schemas of its fields."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from conformance.vectors.lines import LICENSE, VERSION, Case

Schema = Mapping[str, Any]
Rule = Mapping[str, Any]

NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
WORD: Schema = {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}
BOOLEAN: Schema = {"type": "boolean"}
TEXT: Schema = {"type": "string"}
OBJECT: Schema = {"type": "object"}
SEED: Schema = {"type": "string", "pattern": "^-?[0-9]+$"}
HEX: Schema = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}


def array_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


LOGITS = array_of(nullable(NUMBER))
IDS = array_of(COUNT)
NUMBERS = array_of(NUMBER)
TEXTS = array_of(TEXT)

# How an answer is compared with the expected one, by the name of its field.
EXACT: Rule = {"rule": "exact"}
SET: Rule = {"rule": "set"}
LOGIT_RULE: Rule = {"rule": "close", "absolute": 1e-5, "relative": 1e-5}
SHIFTED: Rule = {**LOGIT_RULE, "rule": "close up to a constant"}
PROBABILITY_RULE: Rule = {"rule": "close", "absolute": 1e-6, "relative": 1e-4}
NOISE_RULE: Rule = {"rule": "close", "absolute": 2e-6, "relative": 2e-6}
LOGPROB_RULE: Rule = {"rule": "close", "absolute": 1e-4, "relative": 1e-5}
MODEL_RULE: Rule = {"rule": "close", "absolute": 1e-4, "relative": 1e-4}
SAMPLES: Rule = {"rule": "samples"}

DISTRIBUTION: Mapping[str, Rule] = {
    "kept": SET,
    "probabilities": PROBABILITY_RULE,
    "logits": SHIFTED,
}

FLAGS = {
    "boundary": "a value at an end of its range, or one that switches the parameter off",
    "extreme": "float32 overflows, underflows or flushes to zero on the way",
    "masked": "some tokens have a logit of −∞ from the start",
    "random": "generated, with ordinary values",
    "standard": "from another public document, named in the comment",
    "tie": "equal values decide the result",
    "unicode": "characters of more than one byte",
}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Cases of one function.

    function: its name in the reference. statement: what it requires, in a sentence. compare: a rule
    for each field of an answer, of which an answer has at least one. input, expect: a schema for
    each field; a name that ends with "?" is optional. margin: the meaning of `margin` in its cases.
    files: other files that its cases name.
    """

    name: str
    function: str
    statement: str
    compare: Mapping[str, Rule]
    input: Mapping[str, Schema]
    expect: Mapping[str, Schema]
    cases: Callable[[], Iterable[Case]]
    margin: str = ""
    files: tuple[str, ...] = ()

    @property
    def schema_name(self) -> str:
        return f"schemas/{self.name}-1.json"

    def header(self, cases: list[Case]) -> dict[str, Any]:
        """Return the first line of the file."""
        used = {flag for case in cases for flag in case.flags}
        optional = {"margin": self.margin, "files": list(self.files)}
        return {
            "family": self.name,
            "schema": self.schema_name,
            "version": VERSION,
            "license": LICENSE,
            "function": self.function,
            "statement": self.statement,
            "cases": len(cases),
            "compare": {name: dict(rule) for name, rule in self.compare.items()},
            "flags": {flag: text for flag, text in FLAGS.items() if flag in used},
        } | {name: value for name, value in optional.items() if value}

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of a case."""
        expect = fields(self.expect)
        # The result of a dialect has fields that an answer may have.
        deviating = expect | {"required": []}
        more = {"logits": LOGITS} if "logits" in self.compare else {}
        more |= {"tied": IDS, "tied_count": COUNT} if "kept" in self.expect else {}
        deviating["properties"] = expect["properties"] | more
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"A case of {self.name}",
            "description": self.statement,
            "type": "object",
            "additionalProperties": False,
            "required": ["id", "flags", "input", "expect"],
            "properties": {
                "id": {"type": "string", "pattern": f"^{self.name}/[a-z0-9_]+(-[a-z0-9_]+)*$"},
                "flags": {"type": "array", "items": {"enum": list(FLAGS)}, "uniqueItems": True},
                "input": fields(self.input),
                "expect": expect,
                "margin": NUMBER,
                "dialects": {"type": "object", "additionalProperties": deviating},
                "comment": TEXT,
            },
        }


def fields(schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in schemas if not name.endswith("?")],
        "properties": {name.removesuffix("?"): dict(schema) for name, schema in schemas.items()},
    }
