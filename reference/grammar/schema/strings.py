"""String keywords of JSON Schema: `minLength`, `maxLength`, `pattern`, `format`."""

import json
from collections.abc import Iterator
from functools import reduce

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import RegexError, SchemaError
from reference.grammar.language.expressions import (
    ANY_CHAR,
    EMPTY_SET,
    Language,
    intersect,
    repeat,
)
from reference.grammar.language.formats import format_expression
from reference.grammar.language.json_grammar import any_string, canonical_string
from reference.grammar.language.nodes import Expression
from reference.grammar.language.pruning import prune_unproductive
from reference.grammar.language.regex import compile_regex
from reference.grammar.schema.constraints import Constraints


def string_expression(constraints: Constraints) -> Expression:
    """The JSON strings that the constraints allow."""
    min_length, max_length = constraints.minimum("minLength"), constraints.maximum("maxLength")
    formats = map(format_expression, constraints.values_of("format"))
    contents = [*compile_patterns(constraints), *formats]
    if not contents:
        return any_string(min_length, max_length)
    if min_length or max_length is not None:
        contents.append(repeat(ANY_CHAR, min_length, max_length))
    return canonical_string(reduce(intersect, contents))


def filter_strings(values: list[str], constraints: Constraints) -> list[str]:
    """Return the values that the constraints allow."""
    derivatives = Derivatives(Language(string_expression(constraints)))
    return [v for v in values if derivatives.accepts(json.dumps(v, ensure_ascii=False).encode())]


def may_match(value: str, constraints: Constraints) -> bool:
    """Return whether some validator may accept the value. Not every validator checks `format`, and
    dialects of patterns differ.
    """
    max_length = constraints.maximum("maxLength")
    too_long = max_length is not None and len(value) > max_length
    if len(value) < constraints.minimum("minLength") or too_long:
        return False
    patterns = compile_patterns(constraints, superset=True)
    return all(Derivatives(Language(p)).accepts(value.encode()) for p in patterns)


def no_string_matches(constraints: Constraints) -> bool:
    """Return whether every validator rejects every string."""
    min_length, max_length = constraints.minimum("minLength"), constraints.maximum("maxLength")
    length = repeat(ANY_CHAR, min_length, max_length)
    matches = reduce(intersect, compile_patterns(constraints, superset=True), length)
    return prune_unproductive(Language(matches)).start is EMPTY_SET


def compile_patterns(constraints: Constraints, *, superset: bool = False) -> Iterator[Expression]:
    """Yield the expression of each `pattern`."""
    for pointer, pattern in constraints.occurrences("pattern"):
        try:
            yield compile_regex(pattern, anywhere=True, superset=superset)
        except RegexError as error:
            raise SchemaError(f"{pointer}/pattern", str(error)) from error
