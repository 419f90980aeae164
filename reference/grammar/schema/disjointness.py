"""Disjointness of schemas. `oneOf` requires exactly one branch to hold; if no two branches can hold
together, it suffices that at least one holds, which a grammar can enforce.

Disjointness is decided on values, not on texts: a text that this grammar rejects may be valid for
another validator. So two branches are disjoint only if no validator accepts a value for both.
"""

from itertools import combinations
from typing import Any

from reference.grammar.language.errors import SchemaError
from reference.grammar.schema.constraints import Constraints, type_of
from reference.grammar.schema.document import Document, Pointers, cross_product
from reference.grammar.schema.names import property_pointers
from reference.grammar.schema.strings import may_match, no_string_matches


def check_one_of_disjoint(document: Document) -> None:
    """Raise SchemaError if two branches of a `oneOf` may overlap."""
    disjointness = Disjointness(document)
    for pointer, branches in list(document.one_ofs.items()):
        for (i, left), (j, right) in combinations(enumerate(branches), 2):
            overlap = cross_product([document.local_alternatives(pointer), left, right])
            if not all(map(disjointness.is_empty, overlap)):
                message = f"branches {i} and {j} may overlap; only disjoint branches are supported"
                raise SchemaError(f"{pointer}/oneOf", message)


class Disjointness:
    """Decides whether schemas of one document have no common instance, and caches the answers."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._empty: dict[Pointers, bool] = {}

    def have_no_instance(self, pointers: Pointers) -> bool:
        """Return whether it is certain that no value is an instance of all these schemas."""
        return all(map(self.is_empty, self.document.alternatives(pointers)))

    def is_empty(self, alternative: Pointers) -> bool:
        """Return whether it is certain that no value satisfies an alternative. A recursive schema
        counts as not empty.
        """
        if alternative not in self._empty:
            self._empty[alternative] = False  # the result for a recursive reference
            self._empty[alternative] = self._compute_is_empty(alternative)
        return self._empty[alternative]

    def _compute_is_empty(self, alternative: Pointers) -> bool:
        constraints = Constraints(self.document, alternative)
        if constraints.allowed_values is not None:
            return not may_satisfy(constraints.allowed_values, constraints)
        is_impossible = {
            "number": lambda: not constraints.allows_any_number,
            "string": lambda: no_string_matches(constraints),
            "array": lambda: self._array_is_impossible(constraints),
            "object": lambda: self._object_is_impossible(constraints),
        }
        return all(t in is_impossible and is_impossible[t]() for t in constraints.types)

    def _array_is_impossible(self, constraints: Constraints) -> bool:
        min_items, max_items = constraints.minimum("minItems"), constraints.maximum("maxItems")
        if max_items is not None and min_items > max_items:
            return True
        distinct = min(min_items, constraints.prefix_length + 1)
        return any(self.have_no_instance(constraints.item_pointers(i)) for i in range(distinct))

    def _object_is_impossible(self, constraints: Constraints) -> bool:
        names = constraints.required
        return any(self.have_no_instance(property_pointers(constraints, name)) for name in names)


def may_satisfy(values: list[Any], constraints: Constraints) -> bool:
    """Return whether some validator may accept one of the values of `enum` or `const`."""
    typed = [v for v in values if type_of(v) in constraints.types]
    strings = [v for v in typed if isinstance(v, str)]
    return may_match(strings, constraints) or any(
        constraints.allows_number(v) and constraints.may_be_multiple(v)
        if type_of(v) == "number"
        else not isinstance(v, str)
        for v in typed
    )
