"""The corpus of languages: held against `jsonschema` and `re`, and the reference against it."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conformance.fixtures import format_corpus
from conformance.fixtures.format_corpus import Case, Refused
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import NOTHING
from reference.grammar.language.formats import FORMATS
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.schema.keywords import ANNOTATIONS, KEYWORDS
from tests.support.jsonschema_oracle import is_instance

SCHEMAS, REGEXES, REFUSED = (
    format_corpus.schemas(),
    format_corpus.regexes(),
    format_corpus.refused(),
)


def named(case: Case | Refused) -> str:
    return case.name


def derivatives(case: Case) -> Derivatives:
    language = compile_format(case.response_format)
    assert language is not None
    return Derivatives(language)


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


@pytest.mark.parametrize("case", SCHEMAS, ids=named)
def test_what_the_corpus_says_of_schemas(case: Case) -> None:
    schema = case.response_format["json_schema"]["schema"]
    Draft202012Validator.check_schema(schema)
    for text in case.accepted:
        assert is_instance(schema, text), text
    for text in case.rejected:
        assert is_instance(schema, text) == (text in case.ours), text


@pytest.mark.parametrize("case", REGEXES, ids=named)
def test_what_the_corpus_says_of_regexes(case: Case) -> None:
    pattern = case.response_format["regex"]
    for text in case.accepted:
        assert matches(pattern, text), text
        assert re.fullmatch(pattern, text, re.ASCII), text
    for text in case.rejected:
        assert matches(pattern, text) == (text in case.ours), text


@pytest.mark.parametrize("case", SCHEMAS + REGEXES, ids=named)
def test_what_is_accepted(case: Case) -> None:
    found = derivatives(case)
    for text in case.accepted:
        assert found.accepts(text.encode()), text
    for text in case.rejected:
        assert not found.accepts(text.encode()), text


@pytest.mark.parametrize("case", SCHEMAS + REGEXES, ids=named)
def test_what_an_accepted_text_begins_with_can_be_gone_on_with(case: Case) -> None:
    found = derivatives(case)
    for text in case.accepted:
        state = found.language.start
        for byte in text.encode():
            state = found.derivative(state, byte)
            assert state is not NOTHING, text


@pytest.mark.parametrize("case", REFUSED, ids=named)
def test_what_is_refused(case: Refused) -> None:
    with pytest.raises(UnsupportedFormat, match=re.escape(case.message)):
        compile_format(case.response_format)


def keywords(schema: Any) -> set[str]:
    """Those in a schema; names of properties among them, which does no harm here."""
    if isinstance(schema, dict):
        return set(schema).union(*map(keywords, schema.values()))
    return set().union(*map(keywords, schema)) if isinstance(schema, list) else set()


def test_the_corpus_has_every_keyword() -> None:
    schemas = [case.response_format["json_schema"]["schema"] for case in SCHEMAS]
    assert set(KEYWORDS) | ANNOTATIONS <= keywords(schemas)
    named_at_the_front = {case.name.split(":")[0] for case in SCHEMAS}
    assert {k for k in KEYWORDS if not any(k in name for name in named_at_the_front)} == set()
    assert {s.get("format") for s in schemas if isinstance(s, dict)} >= set(FORMATS)


def test_the_corpus_names_each_case_once() -> None:
    for cases in SCHEMAS, REGEXES, REFUSED:
        names = [case.name for case in cases]
        assert len(names) == len(set(names))
    assert all(case.accepted and (case.rejected or case.name == "any text") for case in REGEXES)
    assert all(case.accepted and case.rejected for case in SCHEMAS)


def test_formats_of_no_schema() -> None:
    assert compile_format(None) is None
    assert compile_format({"type": "text"}) is None
    with pytest.raises(UnsupportedFormat, match="the type 'xml' is not known"):
        compile_format({"type": "xml"})


OVERLAP: list[tuple[Any, str]] = [
    ({"type": "string", "pattern": "^a$"}, "a\n"),
    ({"type": "string", "pattern": "^\\d$"}, "٣"),
    ({"type": "string", "pattern": "^\\W$"}, "é"),
    ({"type": "string", "format": "email"}, "a b@c"),
    ({"type": "string", "format": "ipv6"}, "::1.2.3.4"),
    ({"type": "string", "format": "date-time"}, "2016-12-31T23:59:60Z"),
]


@pytest.mark.parametrize(("branch", "value"), OVERLAP)
def test_branches_that_overlap_outside_of_what_is_accepted(branch: Any, value: str) -> None:
    """What a branch leaves out on purpose is an instance of it all the same: with another branch
    that has it, it is an instance of both, which oneOf does not allow.
    """
    schema = {"oneOf": [branch, {"const": value}]}
    text = json.dumps(value, ensure_ascii=False)
    try:
        language = compile_format(format_corpus.of_schema(schema))
    except UnsupportedFormat as error:
        assert "/oneOf: branches 0 and 1 may hold together" in str(error)
        return
    assert language is not None
    assert not Derivatives(language).accepts(text.encode()) or is_instance(schema, text)


@pytest.mark.parametrize(
    "schema",
    [
        {"const": float("inf")},
        {"enum": [float("nan"), -float("inf")]},
        {"type": "integer", "enum": [float("inf")]},
        {"const": {"a": [float("inf")]}},
        {"const": "\ud800"},
        {"type": "string", "enum": ["\udc00a"]},
        {"const": {"\ud800": 1}},
    ],
    ids=str,
)
def test_what_json_cannot_say_is_refused(schema: Any) -> None:
    """A number like 1e400, and half of a pair: readers of JSON let both through."""
    with pytest.raises(UnsupportedFormat):
        compile_format(format_corpus.of_schema(schema))


@pytest.mark.parametrize("depth", [50, 500, 5000])
def test_nested_schemas(depth: int) -> None:
    """To a depth; past it they are refused, and never fail otherwise."""
    schema: Any = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    if depth > 60:
        with pytest.raises(UnsupportedFormat, match="nested"):
            compile_format(format_corpus.of_schema(schema))
    else:
        language = compile_format(format_corpus.of_schema(schema))
        assert language is not None
        text = b"[" * depth + b"null" + b"]" * depth
        assert Derivatives(language).accepts(text)
        assert not Derivatives(language).accepts(text[1:])
