"""String keywords of JSON Schema: `minLength`, `maxLength`, `pattern`, `format`."""

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
from reference.grammar.language.json_grammar import any_string, canonical_scalar, canonical_string
from reference.grammar.language.nodes import Expression
from reference.grammar.language.pruning import prune_unproductive
from reference.grammar.language.regex import compile_regex
from reference.grammar.schema.constraints import Constraints


def string_expression(constraints: Constraints) -> Expression:
    """The JSON strings that the constraints allow."""
    if constraints.occurrences("pattern") or constraints.occurrences("format"):
        return canonical_string(string_values(constraints))
    return any_string(constraints.minimum("minLength"), constraints.maximum("maxLength"))


def string_values(constraints: Constraints) -> Expression:
    """The values of these strings."""
    min_length, max_length = constraints.minimum("minLength"), constraints.maximum("maxLength")
    formats = map(format_expression, constraints.values_of("format"))
    contents = [*compile_patterns(constraints), *formats]
    if min_length or max_length is not None or not contents:
        contents.append(repeat(ANY_CHAR, min_length, max_length))
    return reduce(intersect, contents)


def filter_strings(values: list[str], constraints: Constraints) -> list[str]:
    """Return the values that the constraints allow."""
    derivatives = Derivatives(Language(string_expression(constraints)), constraints.document.work)
    return [v for v in values if derivatives.accepts(canonical_scalar(v).encode())]


def may_match(values: list[str], constraints: Constraints) -> bool:
    """Return whether some validator may accept one of the values. Not every validator checks
    `format`, and dialects of patterns differ.
    """
    min_length, max_length = constraints.minimum("minLength"), constraints.maximum("maxLength")
    matchers = [
        Derivatives(Language(pattern), constraints.document.work)
        for pattern in compile_patterns(constraints, superset=True)
    ]
    return any(
        min_length <= len(value)
        and (max_length is None or len(value) <= max_length)
        and all(matcher.accepts(value.encode()) for matcher in matchers)
        for value in values
    )


def no_string_matches(constraints: Constraints) -> bool:
    """Return whether every validator rejects every string."""
    min_length, max_length = constraints.minimum("minLength"), constraints.maximum("maxLength")
    length = repeat(ANY_CHAR, min_length, max_length)
    matches = reduce(intersect, compile_patterns(constraints, superset=True), length)
    return prune_unproductive(Language(matches), constraints.document.work).start is EMPTY_SET


def compile_patterns(constraints: Constraints, *, superset: bool = False) -> Iterator[Expression]:
    """Yield the expression of each `pattern`."""
    for pointer, pattern in constraints.occurrences("pattern"):
        constraints.document.work.spend(len(pattern))
        try:
            yield compile_regex(pattern, anywhere=True, superset=superset)
        except RegexError as error:
            raise SchemaError(f"{pointer}/pattern", str(error)) from error
