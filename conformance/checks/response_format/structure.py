"""Constrained texts are valid: JSON objects, instances of schemas, matches of a regex."""

import re
from functools import partial
from typing import Any

from conformance.assertions.basic import assert_all, assert_error, assert_that
from conformance.assertions.response_format import (
    MAX_TOKENS,
    assert_instances,
    assert_valid,
    constrained_choices,
)
from conformance.fixtures.json_texts import (
    empty_strings,
    is_object,
    is_object_prefix,
    is_value_prefix,
    parse_json,
)
from conformance.fixtures.response_formats import (
    JSON_OBJECT,
    LONG_BOUNDS,
    NUMBER,
    PATTERN,
    RESTRICTIVE_SCHEMAS,
    SCHEMA,
    SCHEMAS,
    begins_a_match,
    begins_within_long_bounds,
    is_within_long_bounds,
    json_schema_format,
    matches_pattern,
    object_schema,
    regex_format,
)
from conformance.harness.once import once_per_run
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.http.response import Choice
from conformance.verdicts import Evidence, Inconclusive, Level, NonStrict, Unsupported

checks = CheckGroup("response_format")


@checks.consistency(Level.MUST, Evidence.EXACT)
def json_object(server: Server) -> None:
    """With `json_object`, a complete text is a JSON object, and a truncated text is the beginning
    of one.
    """
    assert_valid(json_object_choices(server), is_object, is_object_prefix, "a JSON object")


@checks.consistency(Level.MUST, Evidence.EXACT)
def bounded_whitespace(server: Server) -> None:
    """A JSON object has at most 8 consecutive whitespace characters outside of strings: a model
    that prefers whitespace would never finish otherwise.
    """
    expected = "at most 8 consecutive whitespace characters"
    choices = json_object_choices(server)
    assert_valid(choices, has_bounded_whitespace, has_bounded_whitespace, expected)


def has_bounded_whitespace(text: str) -> bool:
    return re.search(r"\s{9,}", empty_strings(text)) is None


@once_per_run
def json_object_choices(server: Server) -> list[Choice]:
    """Return choices of `json_object`."""
    return list(constrained_choices(server, JSON_OBJECT))


@checks.consistency(Level.MUST, Evidence.EXACT)
def json_schema_instance(server: Server) -> None:
    """With `json_schema`, a complete text is an instance of the schema, and a truncated text is the
    beginning of an object.
    """
    assert_instances(server, SCHEMA, is_object_prefix, tries=4)


@checks.consistency(Level.MUST, Evidence.EXACT)
def schema_keywords(server: Server) -> None:
    """Numbers are within their bounds, strings have their pattern and length, arrays their length,
    values come from their list, and a schema may refer to itself.
    """
    undecided: list[Unsupported | Inconclusive] = []
    for schema in SCHEMAS:
        try:
            assert_instances(server, schema, is_value_prefix, tries=2)
        except (Unsupported, Inconclusive) as outcome:
            undecided.append(outcome)
    if len(undecided) == len(SCHEMAS):
        raise undecided[0]


@checks.consistency(Level.MUST, Evidence.EXACT)
def no_ignored_keyword(server: Server) -> None:
    """A keyword of JSON Schema is either enforced or refused with a 400 that names it."""
    assert_instances(server, NUMBER, is_value_prefix, tries=1)
    assert_all(
        partial(assert_enforced_or_refused, server, keyword, schema)
        for keyword, schema in RESTRICTIVE_SCHEMAS.items()
    )


def assert_enforced_or_refused(server: Server, keyword: str, schema: dict[str, Any]) -> None:
    reply = server.post(response_format=json_schema_format(schema))
    if reply.status == 200:
        return assert_instances(server, schema, is_value_prefix, tries=3)
    message = assert_error(reply, 400)["message"]
    if keyword not in str(message):
        note = "refused, but the message does not name the keyword"
        raise NonStrict(f"a message that names {keyword}", repr(message), note=note, at=reply.at)


@checks.consistency(Level.SHOULD, Evidence.EXACT)
def long_bounds(server: Server) -> None:
    """Bounds of a hundred digits are accepted and enforced."""
    assert_instances(server, NUMBER, is_value_prefix, tries=1)
    response_format = json_schema_format(LONG_BOUNDS)
    reply = server.post(response_format=response_format)
    expected = "an integer from 10^99 to 10^100"
    assert_that(reply.status == 200, expected, reply.status, reply.at)
    choices = constrained_choices(server, response_format, tries=2, max_tokens=4 * MAX_TOKENS)
    assert_valid(choices, is_within_long_bounds, begins_within_long_bounds, expected)


@checks.consistency(Level.SHOULD, Evidence.EXACT)
def property_order(server: Server) -> None:
    """The properties of an object are in the order of the schema."""
    names = ["z", "a", "m"]
    in_order = json_schema_format(object_schema(**dict.fromkeys(names, {"type": "null"})))

    def is_ordered(text: str) -> bool:
        value = parse_json(text)
        return isinstance(value, dict) and list(value) == names

    choices = constrained_choices(server, in_order, tries=3, max_tokens=2 * MAX_TOKENS)
    assert_valid(choices, is_ordered, is_object_prefix, f"properties in the order {names}")


@checks.consistency(Level.MUST, Evidence.EXACT)
def regex_match(server: Server) -> None:
    """With `regex`, a complete text matches as a whole, and a truncated text is the beginning of a
    match.
    """
    choices = constrained_choices(server, regex_format(PATTERN))
    assert_valid(choices, matches_pattern, begins_a_match, f"a text that matches {PATTERN}")
