"""Values that a schema lists, with `enum` and `const`, and arrays of distinct ones."""

from collections.abc import Callable
from functools import cache
from typing import Any

from reference.grammar.language.errors import SchemaError
from reference.grammar.language.expressions import EMPTY_SET, EPSILON, concat, optional, union
from reference.grammar.language.json_grammar import COMMA, canonical_value, enclosed
from reference.grammar.language.nodes import Expression
from reference.grammar.schema.constraints import (
    PART_KEYWORDS,
    Constraints,
    equality_key,
    type_of,
)
from reference.grammar.schema.document import Document, Pointers
from reference.grammar.schema.strings import filter_strings

MAX_UNIQUE_VALUES = 8  # every subset of them is a state


def filter_values(values: list[Any], constraints: Constraints) -> list[Any]:
    """Return the values of `enum` or `const` that the other keywords allow."""
    typed = [v for v in values if type_of(v) in constraints.types]
    strings = set(filter_strings([v for v in typed if isinstance(v, str)], constraints))
    for keyword in PART_KEYWORDS:
        for pointer, _ in constraints.occurrences(keyword):
            if any(isinstance(v, dict | list) for v in typed):
                message = "not supported together with enum or const"
                raise SchemaError(f"{pointer}/{keyword}", message)
    return [v for v in typed if value_satisfies(v, constraints, strings)]


def value_satisfies(value: Any, constraints: Constraints, strings: set[str]) -> bool:
    """Return whether the constraints allow a value of an allowed type. strings: the strings that
    they allow.
    """
    match value:
        case bool() | None:
            return True
        case int() | float():
            return constraints.allows_number(value) and constraints.is_multiple(value)
        case str():
            return value in strings
        case list():
            return has_length(value, constraints, "minItems", "maxItems")
        case _:
            return has_length(value, constraints, "minProperties", "maxProperties")


def has_length(
    value: list[Any] | dict[str, Any], constraints: Constraints, fewest: str, most: str
) -> bool:
    """Return whether a value has as many parts as two keywords allow."""
    maximum = constraints.maximum(most)
    return constraints.minimum(fewest) <= len(value) and (maximum is None or len(value) <= maximum)


def finite_values(document: Document, pointers: Pointers) -> list[Any] | None:
    """Return the different instances of some schemas if `enum`, `const` or the type lists them."""
    instances: dict[Any, Any] = {}
    for alternative in document.alternatives(pointers):
        constraints = Constraints(document, alternative)
        if constraints.allowed_values is not None:
            values = filter_values(constraints.allowed_values, constraints)
        elif constraints.types <= {"null", "boolean"}:
            values = [v for v in (None, False, True) if type_of(v) in constraints.types]
        else:
            return None
        instances |= {equality_key(value): value for value in values}
    return list(instances.values())


def unique_arrays(
    constraints: Constraints, add_rule: Callable[[str, Expression], Expression]
) -> Expression:
    """The arrays of different items, for items with few possible values. add_rule: names an
    expression, and returns its reference.
    """
    [pointer, *_] = [p for p, unique in constraints.occurrences("uniqueItems") if unique]
    values = finite_values(constraints.document, constraints.item_pointers(0))
    if constraints.prefix_length or values is None or len(values) > MAX_UNIQUE_VALUES:
        message = f"supported only if items lists at most {MAX_UNIQUE_VALUES} values, as enum does"
        raise SchemaError(f"{pointer}/uniqueItems", message)
    min_items, max_items = constraints.minimum("minItems"), constraints.maximum("maxItems")

    @cache
    def items(unused: frozenset[int]) -> Expression:
        """One of the unused values, and all items that follow."""
        return add_rule(
            "items",
            union([concat(canonical_value(values[i]), rest(unused - {i})) for i in sorted(unused)]),
        )

    def rest(unused: frozenset[int]) -> Expression:
        count = len(values) - len(unused)
        if count == max_items:
            return EPSILON if count >= min_items else EMPTY_SET
        following = concat(COMMA, items(unused))
        return optional(following) if count >= min_items else following

    content = EMPTY_SET if max_items == 0 else items(frozenset(range(len(values))))
    return enclosed("[", content, "]", may_be_empty=min_items == 0)
