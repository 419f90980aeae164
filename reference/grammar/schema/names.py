"""The names of an object's members: `propertyNames`, `patternProperties` and the schemas of the
values that they select.
"""

from collections.abc import Collection, Iterator
from functools import reduce
from itertools import combinations

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import RegexError, SchemaError
from reference.grammar.language.expressions import (
    ANY_CHAR,
    EMPTY_SET,
    Language,
    concat_all,
    difference,
    intersect,
    literal,
    repeat,
    union,
)
from reference.grammar.language.json_grammar import QUOTE, json_escaped, string_except
from reference.grammar.language.nodes import Expression
from reference.grammar.language.regex import compile_regex
from reference.grammar.schema.constraints import Constraints
from reference.grammar.schema.document import Document, Pointers
from reference.grammar.schema.strings import filter_strings, string_values

MAX_PATTERNS = 6  # of names: every combination of them may have a schema of its own
ANY_NAME = repeat(ANY_CHAR)


def property_pointers(constraints: Constraints, name: str, *, certain: bool = True) -> Pointers:
    """Return the schemas of the property with this name.

    certain: only those that apply in every dialect of regular expressions, else those that apply in
    some dialect.
    """
    pointers, document = [], constraints.document
    for pointer, schema in zip(constraints.pointers, constraints.schemas, strict=True):
        listed = name in schema.get("properties", ())
        if listed:
            pointers.append(f"{pointer}/properties/{escaped(name)}")
        patterns = schema.get("patternProperties", {})
        location = f"{pointer}/patternProperties"
        for pattern in patterns:
            if matches(document, location, pattern, name, superset=not certain):
                pointers.append(f"{location}/{escaped(pattern)}")
        is_additional = not listed and not any(
            matches(document, location, pattern, name, superset=certain) for pattern in patterns
        )
        if is_additional and "additionalProperties" in schema:
            pointers.append(f"{pointer}/additionalProperties")
    return tuple(pointers)


def matches(document: Document, location: str, pattern: str, name: str, *, superset: bool) -> bool:
    """Return whether a pattern matches in some part of a name."""
    key = pattern, superset
    if key not in document.name_matchers:
        expression = compile_pattern(document, location, pattern, superset=superset)
        document.name_matchers[key] = Derivatives(Language(expression), document.work)
    return document.name_matchers[key].accepts(name.encode())


def compile_pattern(
    document: Document, location: str, pattern: str, *, superset: bool
) -> Expression:
    """Return the names that a pattern matches in some part. Raises SchemaError."""
    document.work.spend(len(pattern))
    try:
        return compile_regex(pattern, anywhere=True, superset=superset)
    except RegexError as error:
        raise SchemaError(f"{location}/{escaped(pattern)}", str(error)) from error


def escaped(key: str) -> str:
    """Write a key as a part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def listed_names(constraints: Constraints) -> dict[str, bool]:
    """Return the names that are generated in order, and whether `propertyNames` allows each: those
    of `properties`, then of `required`, then the values of an `enum` in `propertyNames`.
    """
    names = constraints.property_names | dict.fromkeys(enumerated_names(constraints) or ())
    allowed = allowed_names(constraints)
    if allowed is None:
        return dict.fromkeys(names, True)
    derivatives = Derivatives(Language(allowed), constraints.document.work)
    return {name: derivatives.accepts(name.encode()) for name in names}


def allowed_names(constraints: Constraints) -> Expression | None:
    """Return the names that `propertyNames` allows; None if it allows all."""
    alternatives = name_alternatives(constraints)
    if any(not alternative.pointers for alternative in alternatives):
        return None
    return union(names_of(alternative) for alternative in alternatives)


def enumerated_names(constraints: Constraints) -> list[str] | None:
    """Return the names that `propertyNames` lists, with `enum` or `const`; None if it allows names
    that it does not list.
    """
    names: list[str] = []
    for alternative in name_alternatives(constraints):
        if alternative.allowed_values is None:
            return None
        names += [value for value in alternative.allowed_values if isinstance(value, str)]
    return names


def name_alternatives(constraints: Constraints) -> list[Constraints]:
    """Return the alternatives of `propertyNames`."""
    document = constraints.document
    alternatives = document.alternatives(constraints.pointers_of("propertyNames"))
    return [Constraints(document, alternative) for alternative in alternatives]


def names_of(constraints: Constraints) -> Expression:
    """Return the names that are instances of a conjunction of schemas."""
    if "string" not in constraints.types:
        return EMPTY_SET
    if constraints.allowed_values is None:
        return string_values(constraints)
    names = [value for value in constraints.allowed_values if isinstance(value, str)]
    return union(map(literal, filter_strings(names, constraints)))


def other_names(
    constraints: Constraints, listed: Collection[str]
) -> Iterator[tuple[Expression, Pointers]]:
    """Yield the names of members that are not listed, as JSON strings, with the schemas of their
    values: one pair for each combination of patterns that a name may match.
    """
    if enumerated_names(constraints) is not None:
        return
    allowed = allowed_names(constraints)
    patterns = name_patterns(constraints)
    if allowed is None and not patterns:
        yield string_except(list(listed)), constraints.pointers_of("additionalProperties")
        return
    others = difference(ANY_NAME if allowed is None else allowed, union(map(literal, listed)))
    others = json_escaped(others)  # once, since all combinations share it
    # Names on which dialects disagree are in no combination.
    certain, possible = (
        {
            pattern: json_escaped(
                compile_pattern(constraints.document, location, pattern, superset=superset)
            )
            for pattern, location in patterns.items()
        }
        for superset in (False, True)
    )
    for count in range(len(patterns) + 1):
        for matched in combinations(patterns, count):
            outside = union(possible[p] for p in patterns if p not in matched)
            names = difference(reduce(intersect, [certain[p] for p in matched], others), outside)
            yield concat_all([QUOTE, names, QUOTE]), pattern_pointers(constraints, matched)


def name_patterns(constraints: Constraints) -> dict[str, str]:
    """Return the location of each pattern in `patternProperties`."""
    patterns = {
        pattern: f"{pointer}/patternProperties"
        for pointer, schemas in constraints.occurrences("patternProperties")
        for pattern in schemas
    }
    if len(patterns) > MAX_PATTERNS:
        [location, *_] = patterns.values()
        raise SchemaError(location, f"patternProperties must have at most {MAX_PATTERNS} patterns")
    return patterns


def pattern_pointers(constraints: Constraints, matched: tuple[str, ...]) -> Pointers:
    """Return the schemas of a member whose name is not listed and matches these patterns only."""
    pointers = []
    for pointer, schema in zip(constraints.pointers, constraints.schemas, strict=True):
        own = [p for p in schema.get("patternProperties", ()) if p in matched]
        pointers += [f"{pointer}/patternProperties/{escaped(pattern)}" for pattern in own]
        if not own and "additionalProperties" in schema:
            pointers.append(f"{pointer}/additionalProperties")
    return tuple(pointers)
