"""A JSON Schema document: its places, and the ways to choose among the branches of its schemas."""

import re
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any
from urllib.parse import unquote

from reference.grammar.language.errors import SchemaError
from reference.grammar.schema.keywords import APPLICATORS, CONSTRAINTS, check

Places = tuple[str, ...]  # JSON pointers (RFC 6901) into the document

NO_CHOICE: list[Places] = [()]
MOST_CHOICES = 500
INDEX = re.compile("0|[1-9][0-9]{0,5}")


class Document:
    """one_ofs: the places of `oneOf` that were met, and of each the ways to choose each branch."""

    def __init__(self, document: Mapping[str, Any] | bool) -> None:
        self.document = document
        self.one_ofs: dict[str, list[list[Places]]] = {}
        self._known: dict[str, list[Places] | None] = {}

    def at(self, place: str) -> Any:
        """What stands at a place. Raises SchemaError if nothing does."""
        value: Any = self.document
        for key in place.split("/")[1:]:
            key = key.replace("~1", "/").replace("~0", "~")
            if isinstance(value, list) and INDEX.fullmatch(key) and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                raise SchemaError(place, "there is nothing here")
        return value

    def bases(self, places: Places) -> list[Places]:
        """Every way to choose among the branches of these schemas, all of which hold: the places
        whose own keywords must all hold then.
        """
        return all_of(self._expand(place) for place in places)

    def _expand(self, place: str) -> list[Places]:
        if place not in self._known:
            self._known[place] = None
            self._known[place] = self._expanded(place)
        found = self._known[place]
        if found is None:
            raise SchemaError(place, "it refers to itself, and to nothing else")
        return found

    def _expanded(self, place: str) -> list[Places]:
        schema = self.at(place)
        if isinstance(schema, bool):
            return [()] if schema else []
        check(place, schema)
        found = [self.own(place)]
        for keyword in [k for k in schema if k in APPLICATORS]:
            found.append(self._branches(place, keyword, schema[keyword]))
        return all_of(found)

    def own(self, place: str) -> list[Places]:
        """The one way to choose what stands at a place itself."""
        return [(place,)] if CONSTRAINTS & self.at(place).keys() else [()]

    def _branches(self, place: str, keyword: str, value: Any) -> list[Places]:
        if keyword == "$ref":
            return self._expand(self._target(place, value))
        branches = [self._expand(f"{place}/{keyword}/{i}") for i in range(len(value))]
        if keyword == "allOf":
            return all_of(branches)
        if keyword == "oneOf":
            self.one_ofs[place] = branches
        return list(dict.fromkeys(base for branch in branches for base in branch))

    def _target(self, place: str, value: str) -> str:
        root = self.document.get("$id", "") if isinstance(self.document, Mapping) else ""
        pointer = unquote(value.removeprefix(root.removesuffix("#")).removeprefix("#"))
        if not value.startswith(("#", root)) or pointer[:1] not in ("", "/"):
            raise SchemaError(f"{place}/$ref", f"{value!r} is not in this document")
        if not isinstance(self.at(pointer), dict | bool):
            raise SchemaError(f"{place}/$ref", f"{value!r} is no schema")
        return pointer


def all_of(choices: Iterable[list[Places]]) -> list[Places]:
    """One of each, in every combination."""
    return reduce(combined, choices, NO_CHOICE)


def combined(left: list[Places], right: list[Places]) -> list[Places]:
    if len(left) * len(right) > MOST_CHOICES:
        raise SchemaError("", f"anyOf and oneOf leave more than {MOST_CHOICES} choices")
    return list(dict.fromkeys(tuple(dict.fromkeys(a + b)) for a in left for b in right))
