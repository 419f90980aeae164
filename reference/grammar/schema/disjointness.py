"""Whether schemas exclude each other. `oneOf` asks for exactly one branch; if no two of them can
hold together, that is what one of them at least is.

It is decided of values, not of texts: of what is left out of a language on purpose, another reader
may make something. So "no" is said only of what no reader could find in both.
"""

from itertools import combinations
from typing import Any

from reference.grammar.language.errors import SchemaError
from reference.grammar.schema.constraints import Own, type_of
from reference.grammar.schema.document import Document, Places, all_of
from reference.grammar.schema.strings import may_fit, none_may_fit


def check_apart(document: Document) -> None:
    """Raises SchemaError if two branches of a `oneOf` may hold together."""
    apart = Apart(document)
    for place, branches in list(document.one_ofs.items()):
        for (i, one), (j, two) in combinations(enumerate(branches), 2):
            shared = all_of([document.own(place), one, two])
            if not all(apart.nothing(base) for base in shared):
                message = f"branches {i} and {j} may hold together; only such as exclude each other"
                raise SchemaError(f"{place}/oneOf", message + " are supported")


class Apart:
    """What is known already of the schemas of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._known: dict[Places, bool] = {}

    def none(self, places: Places) -> bool:
        """Whether surely no value is an instance of all these schemas."""
        return all(self.nothing(base) for base in self.document.bases(places))

    def nothing(self, base: Places) -> bool:
        """Likewise, for what stands at these places itself. It is not sure of what leads back to
        itself.
        """
        if base not in self._known:
            self._known[base] = False
            self._known[base] = self._nothing(base)
        return self._known[base]

    def _nothing(self, base: Places) -> bool:
        own = Own(base, tuple(self.document.at(place) for place in base))
        if own.values is not None:
            return not any(self._may_be(value, own) for value in own.values)
        none = {
            "number": lambda: not own.has_number,
            "string": lambda: none_may_fit(own),
            "array": lambda: self._no_array(own),
            "object": lambda: self._no_object(own),
        }
        return all(kind in none and none[kind]() for kind in own.types)

    def _may_be(self, value: Any, own: Own) -> bool:
        match type_of(value):
            case kind if kind not in own.types:
                return False
            case "number":
                return own.has(value)
            case "string":
                return may_fit(value, own)
            case _:
                return True

    def _no_array(self, own: Own) -> bool:
        least, most = own.least("minItems"), own.most("maxItems")
        if most is not None and least > most:
            return True
        return any(self.none(own.items(i)) for i in range(min(least, own.fixed + 1)))

    def _no_object(self, own: Own) -> bool:
        return any(self.none(own.property(name)) for name in own.required)
