"""Formats that are refused, formats that are hard to compile, and the type `text`."""

from typing import Any

from conformance.assertions.basic import (
    assert_error,
    assert_rejected,
    assert_same_completion,
    assert_that,
)
from conformance.fixtures.response_formats import json_schema_format, object_schema, regex_format
from conformance.harness.capabilities import SEEDS
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server
from conformance.verdicts import Evidence, Level

checks = CheckGroup("response_format")


@checks.protocol(Level.MUST, Evidence.EXACT)
def malformed_format_422(server: Server) -> None:
    """A value other than an object with a known type and the fields of that type is a 422 that
    names the field.
    """
    malformed: list[Any] = ["text", [], 3, {}, {"type": None}, {"type": "yaml"}]
    malformed += [{"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "a"}}]
    malformed += [json_schema_format("object"), {"type": "regex"}, regex_format(3)]
    assert_rejected(server, "response_format", malformed)


@checks.protocol(Level.MUST, Evidence.EXACT)
def invalid_schema_or_regex_400(server: Server) -> None:
    """An invalid schema or regular expression is a 400 that is described in `error`."""
    for value in json_schema_format({"type": "no-such-type"}), regex_format("(a"):
        assert_error(server.post(response_format=value), 400)


@checks.protocol(Level.MUST, Evidence.EXACT)
def unsatisfiable_schema_400(server: Server) -> None:
    """A schema without an instance, or without a finite one, is a 400 that is described in
    `error`.
    """
    no_instance = {"type": "integer", "minimum": 3, "maximum": 2}, object_schema(a=False)
    only_infinite = object_schema(a={"$ref": "#"})
    for schema in *no_instance, only_infinite:
        assert_error(server.post(response_format=json_schema_format(schema)), 400)


@checks.protocol(Level.MUST, Evidence.EXACT)
def complex_schema(server: Server) -> None:
    """A regular expression or a schema that is expensive to follow is either followed or refused
    with a 4xx.
    """
    alternatives = [{"anyOf": [{"minimum": i}, {"maximum": -i}]} for i in range(1, 30)]
    formats = [json_schema_format({"allOf": alternatives}), json_schema_format({"$ref": "#"})]
    formats += map(regex_format, ("(a{1000}){1000}", "(((a+)+)+)+$", "(a?){300}a{300}"))
    for response_format in formats:
        reply = server.post(response_format=response_format)
        assert_that(reply.status < 500, "a text, or a 4xx", reply.status, reply.at)
        if reply.status == 200 and "regex" in response_format:
            [choice] = reply.json["choices"]
            assert_that(
                not choice["text"].strip("a"), "only the letter a", choice["text"], reply.at
            )


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def text_type_unconstrained(server: Server) -> None:
    """With null, and with the type `text`, the answer equals the answer without the field."""
    plain = server.complete()
    for value in None, {"type": "text"}:
        answer = server.complete(response_format=value)
        assert_same_completion(plain, answer, f"the same answer with {value} and without")


@checks.consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def text_type_same_samples(server: Server) -> None:
    """With null, and with the type `text`, a seed samples what it samples without the field."""
    fields = {"temperature": 1.5, "seed": server.rng.getrandbits(31)}
    plain = server.complete(**fields)
    for value in None, {"type": "text"}:
        answer = server.complete(response_format=value, **fields)
        assert_same_completion(plain, answer, f"the same answer with {value} and without")
