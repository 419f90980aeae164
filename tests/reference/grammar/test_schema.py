"""The corpus of formats: it agrees with `jsonschema` and `re`, and the reference agrees with it."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conformance.fixtures import format_corpus
from conformance.fixtures.format_corpus import Case, RejectedFormat
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import EMPTY_SET
from reference.grammar.language.formats import FORMATS
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.schema.keywords import ANNOTATIONS, KEYWORDS
from tests.support.jsonschema_oracle import is_instance

SCHEMAS, REGEXES, REFUSED = (
    format_corpus.schemas(),
    format_corpus.regexes(),
    format_corpus.rejected_formats(),
)


def case_name(case: Case | RejectedFormat) -> str:
    return case.name


def derivatives(case: Case) -> Derivatives:
    language = compile_format(case.response_format)
    assert language is not None
    return Derivatives(language)


def matches(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


@pytest.mark.parametrize("case", SCHEMAS, ids=case_name)
def test_corpus_schemas_agree_with_jsonschema(case: Case) -> None:
    schema = case.response_format["json_schema"]["schema"]
    Draft202012Validator.check_schema(schema)
    for text in case.accepted:
        assert is_instance(schema, text), text
    for text in case.rejected:
        assert is_instance(schema, text) == (text in case.excluded), text


@pytest.mark.parametrize("case", REGEXES, ids=case_name)
def test_corpus_regexes_agree_with_re(case: Case) -> None:
    pattern = case.response_format["regex"]
    for text in case.accepted:
        assert matches(pattern, text), text
        assert re.fullmatch(pattern, text, re.ASCII), text
    for text in case.rejected:
        assert matches(pattern, text) == (text in case.excluded), text


@pytest.mark.parametrize("case", SCHEMAS + REGEXES, ids=case_name)
def test_corpus_texts_are_accepted_or_rejected(case: Case) -> None:
    matcher = derivatives(case)
    for text in case.accepted:
        assert matcher.accepts(text.encode()), text
    for text in case.rejected:
        assert not matcher.accepts(text.encode()), text


@pytest.mark.parametrize("case", SCHEMAS + REGEXES, ids=case_name)
def test_prefixes_of_accepted_texts_are_valid_prefixes(case: Case) -> None:
    matcher = derivatives(case)
    for text in case.accepted:
        state = matcher.language.start
        for byte in text.encode():
            state = matcher.derivative(state, byte)
            assert state is not EMPTY_SET, text


@pytest.mark.parametrize("case", REFUSED, ids=case_name)
def test_unsupported_formats_are_refused(case: RejectedFormat) -> None:
    with pytest.raises(UnsupportedFormat, match=re.escape(case.message)):
        compile_format(case.response_format)


def keywords(schema: Any) -> set[str]:
    """Return the keywords in a schema. Property names are included, which is harmless here."""
    if isinstance(schema, dict):
        return set(schema).union(*map(keywords, schema.values()))
    return set().union(*map(keywords, schema)) if isinstance(schema, list) else set()


def test_corpus_has_every_keyword() -> None:
    schemas = [case.response_format["json_schema"]["schema"] for case in SCHEMAS]
    assert set(KEYWORDS) | ANNOTATIONS <= keywords(schemas)
    prefixes = {case.name.split(":")[0] for case in SCHEMAS}
    assert {k for k in KEYWORDS if not any(k in prefix for prefix in prefixes)} == set()
    assert {s.get("format") for s in schemas if isinstance(s, dict)} >= set(FORMATS)


def test_corpus_names_are_unique() -> None:
    for cases in SCHEMAS, REGEXES, REFUSED:
        names = [case.name for case in cases]
        assert len(names) == len(set(names))
    assert all(case.accepted and (case.rejected or case.name == "any text") for case in REGEXES)
    assert all(case.accepted and case.rejected for case in SCHEMAS)


def test_formats_without_schema() -> None:
    assert compile_format(None) is None
    assert compile_format({"type": "text"}) is None
    with pytest.raises(UnsupportedFormat, match="the type 'xml' is not known"):
        compile_format({"type": "xml"})


OVERLAPPING: list[tuple[Any, str]] = [
    ({"type": "string", "pattern": "^a$"}, "a\n"),
    ({"type": "string", "pattern": "^\\d$"}, "٣"),
    ({"type": "string", "pattern": "^\\W$"}, "é"),
    ({"type": "string", "format": "email"}, "a b@c"),
    ({"type": "string", "format": "ipv6"}, "::1.2.3.4"),
    ({"type": "string", "format": "date-time"}, "2016-12-31T23:59:60Z"),
]


@pytest.mark.parametrize(("branch", "value"), OVERLAPPING)
def test_branches_that_overlap_in_rejected_texts_are_refused(branch: Any, value: str) -> None:
    """The grammar of the branch rejects the value, but it is an instance. So it is an instance of
    both branches, which oneOf does not allow.
    """
    schema = {"oneOf": [branch, {"const": value}]}
    text = json.dumps(value, ensure_ascii=False)
    try:
        language = compile_format(format_corpus.json_schema_format(schema))
    except UnsupportedFormat as error:
        assert "/oneOf: branches 0 and 1 may overlap" in str(error)
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
def test_values_outside_json_are_refused(schema: Any) -> None:
    """Python's JSON parser lets infinite numbers (1e400) and lone surrogates through."""
    with pytest.raises(UnsupportedFormat):
        compile_format(format_corpus.json_schema_format(schema))


@pytest.mark.parametrize("depth", [50, 500, 5000])
def test_nested_schemas(depth: int) -> None:
    """Deep nesting is refused, and never causes another error."""
    schema: Any = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    if depth > 60:
        with pytest.raises(UnsupportedFormat, match="nested|characters"):
            compile_format(format_corpus.json_schema_format(schema))
    else:
        language = compile_format(format_corpus.json_schema_format(schema))
        assert language is not None
        text = b"[" * depth + b"null" + b"]" * depth
        assert Derivatives(language).accepts(text)
        assert not Derivatives(language).accepts(text[1:])
