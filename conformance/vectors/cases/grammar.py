"""Response formats: accepted and rejected texts, and token masks along an output."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from conformance.fixtures import format_corpus
from conformance.vectors.cases.build import answer_case, uniform
from conformance.vectors.families import (
    BOOLEAN,
    EXACT,
    IDS,
    OBJECT,
    SET,
    TEXTS,
    Family,
    array_of,
)
from conformance.vectors.lines import Case
from conformance.vectors.pieces import VOCABULARY_FILE

LANGUAGE = "every valid text is accepted"
PIECES = (
    '{"', '"}', '":', '": ', '": "', '", "', '",', '", ', "{}", "[]", "[1", "]}", "}}", "true",
    "false", "null", "tru", "e", "name", "age", '"name"', '"a"', '"', "\\", '\\"', "\\n", "\\u",
    "00", "12", "-1", "0.", ".5", "1e", "  ", "\n", "\n  ", " ", ", ", ": ", "ab", "abc", "ba",
    "é", "漢", "字", "👍", "the", " the", "cat", " cat", "2024", "-0", "-01", "A", "Z",
)  # fmt: skip
PARTS = ("e2 82", "f0 9f 91", "c3", "a9 22", "22 7d 0a", "80")  # of characters, or across them


def vocabulary() -> dict[str, Any]:
    """Return the vocabulary: every byte, end-of-sequence (which has no bytes), and other pieces."""
    single = [f"{byte:02x}" for byte in range(256)]
    longer = [piece.encode().hex() for piece in PIECES] + [part.replace(" ", "") for part in PARTS]
    return {"end_of_sequence": 256, "pieces": [*single, "", *longer]}


FORMATS: Mapping[str, dict[str, Any]] = {
    "json-object": {"type": "json_object"},
    "regex-date": {"type": "regex", "regex": r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"},
    "regex-alternatives": {"type": "regex", "regex": "(abc|ab|ba)+"},
    "regex-any-text": {"type": "regex", "regex": ".*"},
    "regex-characters": {"type": "regex", "regex": "[é漢字👍]{1,3}"},
    "regex-negated": {"type": "regex", "regex": "[^a-z]+"},
    "regex-optional": {"type": "regex", "regex": "(the( cat)?)?"},
    "schema-boolean": format_corpus.json_schema_format({"type": "boolean"}),
    "schema-integer": format_corpus.json_schema_format(
        {"type": "integer", "minimum": -12, "maximum": 345}
    ),
    "schema-number": format_corpus.json_schema_format({"type": "number"}),
    "schema-string": format_corpus.json_schema_format({"type": "string", "maxLength": 3}),
    "schema-enum": format_corpus.json_schema_format({"enum": ["cat", "the cat", 12, None, True]}),
    "schema-record": format_corpus.json_schema_format(
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
            "required": ["name", "age"],
            "additionalProperties": False,
        }
    ),
    "schema-array": format_corpus.json_schema_format(
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}
    ),
}
STEPS = 8


def slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def text_cases() -> Iterator[Case]:
    taken: set[str] = set()
    for kind, corpus in ("schema", format_corpus.schemas()), ("regex", format_corpus.regexes()):
        for entry in corpus:
            name = f"{kind}-{slug(entry.name)}"
            while name in taken:
                name += "-2"
            taken.add(name)
            texts = [*entry.accepted, *entry.rejected]
            case = {"response_format": dict(entry.response_format), "texts": texts}
            valid = [t in entry.accepted or t in entry.excluded for t in texts]
            dialects = {LANGUAGE: {"accepted": valid}} if entry.excluded else {}
            result = answer_case("grammar_text", name, case, (), "", None, dialects)
            assert result.expect["accepted"] == [text in entry.accepted for text in texts], name
            yield result


def mask_cases() -> Iterator[Case]:
    end = vocabulary()["end_of_sequence"]
    for i, (name, response_format) in enumerate(FORMATS.items()):
        picks, output = uniform(i + 4000, STEPS), list[int]()
        for step in range(STEPS):
            case = {"response_format": response_format, "output": list(output)}
            result = answer_case("grammar_mask", f"{name}-{step}", case)
            yield result
            allowed = [token for token in result.expect["allowed"] if token != end]
            if not allowed:
                break
            # Half of the tokens are longer pieces, of which there are few.
            longer = [token for token in allowed if token > end]
            if step % 2 == 0 and longer:
                allowed = longer
            output.append(allowed[int(picks[step] * len(allowed))])


FAMILIES = (
    Family(
        name="grammar_text",
        function="grammar.response_format.compile_format",
        statement="The texts that a response format allows, in their order.",
        compare={"accepted": EXACT},
        input={"response_format": OBJECT, "texts": TEXTS},
        expect={"accepted": array_of(BOOLEAN)},
        cases=text_cases,
    ),
    Family(
        name="grammar_mask",
        function="grammar.token_mask.GrammarMatcher",
        statement="The tokens of grammar/vocabulary.json that may follow an output.",
        compare={"allowed": SET},
        input={"response_format": OBJECT, "output": IDS},
        expect={"allowed": IDS},
        cases=mask_cases,
        files=(VOCABULARY_FILE,),
    ),
)
