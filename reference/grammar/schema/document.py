"""A JSON Schema document: its locations, `$ref`, and the alternatives of `anyOf` and `oneOf`.

Locations are JSON pointers. An *alternative* is one choice among all branches: the pointers of the
schemas whose own keywords must then hold together.
"""

import re
from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import groupby
from typing import Any
from urllib.parse import unquote

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import SchemaError
from reference.grammar.language.multiples import Multiples
from reference.grammar.language.work_budget import WorkBudget
from reference.grammar.schema.keywords import APPLICATORS, CONSTRAINT_KEYWORDS, check

Pointers = tuple[str, ...]  # JSON pointers (RFC 6901) into the document

UNCONSTRAINED: list[Pointers] = [()]  # one alternative, in which no keyword must hold
MAX_ALTERNATIVES = 500
INDEX = re.compile("0|[1-9][0-9]{0,5}")


class Document:
    """A schema document.

    work: the bound on the work of compiling it. multiples: those built so far. name_matchers: the
    texts that patterns of names match, by pattern, and whether in some dialect of regular
    expressions (True) or in all. one_ofs: for each `oneOf` resolved so far, the alternatives of
    each of its branches, by the pointer of the schema that contains it.
    """

    def __init__(self, document: Mapping[str, Any] | bool) -> None:
        self.document, self.work = document, WorkBudget()
        self.multiples = Multiples(self.work)
        self.name_matchers: dict[tuple[str, bool], Derivatives] = {}
        self.one_ofs: dict[str, list[list[Pointers]]] = {}
        self._expanded: dict[str, list[Pointers] | None] = {}

    def resolve(self, pointer: str) -> Any:
        """Return the value at a pointer. Raises SchemaError if there is none."""
        value: Any = self.document
        for key in pointer.split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and INDEX.fullmatch(key) and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                raise SchemaError(pointer, "this location does not exist")
        return value

    def alternatives(self, pointers: Pointers) -> list[Pointers]:
        """Return the alternatives of these schemas when all of them must hold."""
        return cross_product(self._expand(pointer) for pointer in pointers)

    def _expand(self, pointer: str) -> list[Pointers]:
        """Return the alternatives of one schema, computed once."""
        if pointer not in self._expanded:
            self._expanded[pointer] = None  # in progress
            self._expanded[pointer] = self._expand_once(pointer)
        alternatives = self._expanded[pointer]
        if alternatives is None:
            raise SchemaError(pointer, "refers only to itself")
        return alternatives

    def _expand_once(self, pointer: str) -> list[Pointers]:
        schema = self.resolve(pointer)
        if isinstance(schema, bool):
            return [()] if schema else []
        check(pointer, schema)
        conjuncts = [self.local_alternatives(pointer)]
        for keyword in [k for k in schema if k in APPLICATORS]:
            conjuncts.append(self._apply(pointer, keyword, schema[keyword]))
        return cross_product(conjuncts)

    def local_alternatives(self, pointer: str) -> list[Pointers]:
        """Return the one alternative of a schema without its applicators: the schema itself."""
        has_constraints = CONSTRAINT_KEYWORDS & self.resolve(pointer).keys()
        return [(pointer,)] if has_constraints else UNCONSTRAINED

    def _apply(self, pointer: str, keyword: str, value: Any) -> list[Pointers]:
        """Return the alternatives of one applicator: `$ref`, `allOf`, `anyOf` or `oneOf`."""
        if keyword == "$ref":
            return self._expand(self._target(pointer, value))
        branches = [self._expand(f"{pointer}/{keyword}/{i}") for i in range(len(value))]
        if keyword == "allOf":
            return cross_product(branches)
        if keyword == "oneOf":
            self.one_ofs[pointer] = branches
        return list(dict.fromkeys(pointers for branch in branches for pointers in branch))

    def _target(self, pointer: str, reference: str) -> str:
        """Return the pointer that a `$ref` refers to."""
        root = self.document.get("$id", "") if isinstance(self.document, Mapping) else ""
        target = unquote(reference.removeprefix(root.removesuffix("#")).removeprefix("#"))
        if not reference.startswith(("#", root)) or target[:1] not in ("", "/"):
            raise SchemaError(f"{pointer}/$ref", f"{reference!r} is not in this document")
        if not isinstance(self.resolve(target), dict | bool):
            raise SchemaError(f"{pointer}/$ref", f"{reference!r} is not a schema")
        return target


def cross_product(conjuncts: Iterable[list[Pointers]]) -> list[Pointers]:
    """Combine one alternative of each conjunct, in every combination."""
    joined: list[list[Pointers]] = []
    for has_choice, run in groupby(conjuncts, lambda alternatives: len(alternatives) != 1):
        if has_choice:
            joined += run
        else:  # many schemas without a choice are joined at once
            joined.append([tuple(dict.fromkeys(p for [pointers] in run for p in pointers))])
    return reduce(combine, joined, UNCONSTRAINED)


def combine(left: list[Pointers], right: list[Pointers]) -> list[Pointers]:
    """Combine each alternative of one side with each of the other, without duplicates."""
    if len(left) * len(right) > MAX_ALTERNATIVES:
        raise SchemaError("", f"anyOf and oneOf have more than {MAX_ALTERNATIVES} alternatives")
    return list(dict.fromkeys(tuple(dict.fromkeys(a + b)) for a in left for b in right))
