"""What is said of values by the keywords that stand at some places, all of which must hold."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from reference.grammar.language.numbers import Bound, highest, lowest
from reference.grammar.schema.document import Places
from reference.grammar.schema.keywords import ALL_TYPES

LOW = {"minimum": False, "exclusiveMinimum": True}
HIGH = {"maximum": False, "exclusiveMaximum": True}
PARTS = ("properties", "required", "additionalProperties", "items", "prefixItems")


class Own:
    """places: of the schemas, whose own keywords are meant."""

    def __init__(self, places: Places, schemas: tuple[Mapping[str, Any], ...]) -> None:
        self.places, self.schemas = places, schemas

    def get(self, keyword: str) -> list[tuple[str, Any]]:
        """(place, value) wherever a keyword stands."""
        pairs = zip(self.places, self.schemas, strict=True)
        return [(place, schema[keyword]) for place, schema in pairs if keyword in schema]

    def values_of(self, keyword: str) -> list[Any]:
        return [value for _, value in self.get(keyword)]

    def places_of(self, keyword: str) -> Places:
        return tuple(f"{place}/{keyword}" for place, _ in self.get(keyword))

    def least(self, keyword: str) -> int:
        return int(max(self.values_of(keyword), default=0))

    def most(self, keyword: str) -> int | None:
        return min(map(int, self.values_of(keyword)), default=None)

    @cached_property
    def _kinds(self) -> frozenset[str]:
        """Of the types, with "integer" for each that has "number"."""
        found = ALL_TYPES
        for value in self.values_of("type"):
            named = {value} if isinstance(value, str) else set(value)
            found &= named | ({"integer"} if "number" in named else set())
        return found

    @property
    def types(self) -> frozenset[str]:
        """Without "integer", which is a kind of number."""
        number = {"number"} if "integer" in self._kinds else set()
        return (self._kinds | number) - {"integer"}

    @property
    def integers(self) -> bool:
        """Whether a number must be whole."""
        return "number" not in self._kinds

    @cached_property
    def values(self) -> list[Any] | None:
        """Those that `enum` and `const` leave, None if there is neither."""
        lists = self.values_of("enum") + [[value] for value in self.values_of("const")]
        if not lists:
            return None
        others = [{key_of(value) for value in more} for more in lists[1:]]
        return [v for v in lists[0] if all(key_of(v) in more for more in others)]

    @cached_property
    def low(self) -> Bound | None:
        """The highest of the lower bounds."""
        return max(self._bounds(LOW), key=lambda b: (b.value, b.strict), default=None)

    @cached_property
    def high(self) -> Bound | None:
        """The lowest of the upper bounds."""
        return min(self._bounds(HIGH), key=lambda b: (b.value, not b.strict), default=None)

    def _bounds(self, strict: Mapping[str, bool]) -> Iterator[Bound]:
        return (Bound(value, strict[k]) for k in strict for value in self.values_of(k))

    @property
    def has_number(self) -> bool:
        """Whether any number is within the bounds."""
        return lowest(self.low, whole=self.integers) <= highest(self.high, whole=self.integers)

    def has(self, number: int | float) -> bool:
        """Whether a number is within the bounds, and whole if it must be."""
        if self.integers and number != int(number):
            return False
        low = (
            self.low is None
            or number > self.low.value
            or (number == self.low.value and not self.low.strict)
        )
        high = (
            self.high is None
            or number < self.high.value
            or (number == self.high.value and not self.high.strict)
        )
        return low and high

    def items(self, i: int) -> Places:
        """What is said of the i-th item."""
        found = []
        for place, schema in zip(self.places, self.schemas, strict=True):
            if i < len(schema.get("prefixItems", ())):
                found.append(f"{place}/prefixItems/{i}")
            elif "items" in schema:
                found.append(f"{place}/items")
        return tuple(found)

    @cached_property
    def fixed(self) -> int:
        """How many items may have schemas of their own."""
        return max(map(len, self.values_of("prefixItems")), default=0)

    @cached_property
    def required(self) -> dict[str, None]:
        return dict.fromkeys(name for names in self.values_of("required") for name in names)

    @cached_property
    def names(self) -> dict[str, None]:
        """Those that are listed, then those that are only required."""
        listed = dict.fromkeys(n for properties in self.values_of("properties") for n in properties)
        return listed | self.required

    def property(self, name: str) -> Places:
        """What is said of the property of this name."""
        found = []
        for place, schema in zip(self.places, self.schemas, strict=True):
            if name in schema.get("properties", ()):
                found.append(f"{place}/properties/{name.replace('~', '~0').replace('/', '~1')}")
            elif "additionalProperties" in schema:
                found.append(f"{place}/additionalProperties")
        return tuple(found)


def type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def key_of(value: Any) -> Any:
    """What is equal for equal JSON values: 1 is 1.0 and not true, in lists and objects too."""
    match value:
        case list():
            return ("array", *map(key_of, value))
        case dict():
            return ("object", frozenset((name, key_of(v)) for name, v in value.items()))
        case _:
            return (type_of(value), value)
