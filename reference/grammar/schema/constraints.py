"""The constraints on one value: the keywords of all schemas that apply to it, combined."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property, reduce
from typing import Any

from reference.grammar.language.errors import SchemaError
from reference.grammar.language.multiples import (
    STEP_DESCRIPTION,
    common_step,
    is_decidable_step,
)
from reference.grammar.language.numbers import Bound, max_decimal, min_decimal
from reference.grammar.schema.document import Document, Pointers
from reference.grammar.schema.keywords import ALL_TYPES

LOWER_BOUNDS = {"minimum": False, "exclusiveMinimum": True}  # keyword → whether it is exclusive
UPPER_BOUNDS = {"maximum": False, "exclusiveMaximum": True}
PART_KEYWORDS = (
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "uniqueItems",
)


class Constraints:
    """The conjunction of the schemas at some pointers, without their applicators (`$ref`, …)."""

    def __init__(self, document: Document, pointers: Pointers) -> None:
        document.work.spend(len(pointers))
        self.pointers, self.document = pointers, document
        self.schemas: tuple[Mapping[str, Any], ...] = tuple(map(document.resolve, pointers))

    def occurrences(self, keyword: str) -> list[tuple[str, Any]]:
        """Return the (schema pointer, value) of each occurrence of a keyword."""
        pairs = zip(self.pointers, self.schemas, strict=True)
        return [(pointer, schema[keyword]) for pointer, schema in pairs if keyword in schema]

    def values_of(self, keyword: str) -> list[Any]:
        """Return the values of a keyword."""
        return [value for _, value in self.occurrences(keyword)]

    def pointers_of(self, keyword: str) -> Pointers:
        """Return the pointers of the values of a keyword."""
        return tuple(f"{pointer}/{keyword}" for pointer, _ in self.occurrences(keyword))

    def minimum(self, keyword: str) -> int:
        """Return the greatest value of a keyword that is a lower bound, such as `minItems`; 0 if
        it is absent.
        """
        return int(max(self.values_of(keyword), default=0))

    def maximum(self, keyword: str) -> int | None:
        """Return the least value of a keyword that is an upper bound; None if it is absent."""
        return min(map(int, self.values_of(keyword)), default=None)

    @cached_property
    def _types_with_integer(self) -> frozenset[str]:
        """The allowed types, where "number" includes "integer"."""
        types = ALL_TYPES
        for value in self.values_of("type"):
            named = {value} if isinstance(value, str) else set(value)
            types &= named | ({"integer"} if "number" in named else set())
        return types

    @property
    def types(self) -> frozenset[str]:
        """The allowed types, with "number" for "integer"."""
        number = {"number"} if "integer" in self._types_with_integer else set()
        return (self._types_with_integer | number) - {"integer"}

    @property
    def integers_only(self) -> bool:
        """Return whether a number must be an integer."""
        return "number" not in self._types_with_integer

    @cached_property
    def allowed_values(self) -> list[Any] | None:
        """The values that all `enum` and `const` allow; None if there are none of these."""
        lists = self.values_of("enum") + [[value] for value in self.values_of("const")]
        if not lists:
            return None
        others = [{equality_key(value) for value in values} for values in lists[1:]]
        return [v for v in lists[0] if all(equality_key(v) in keys for keys in others)]

    @cached_property
    def lower_bound(self) -> Bound | None:
        """The strictest lower bound of numbers."""
        bounds = self._bounds(LOWER_BOUNDS)
        return max(bounds, key=lambda b: (b.value, b.exclusive), default=None)

    @cached_property
    def upper_bound(self) -> Bound | None:
        """The strictest upper bound of numbers."""
        bounds = self._bounds(UPPER_BOUNDS)
        return min(bounds, key=lambda b: (b.value, not b.exclusive), default=None)

    def _bounds(self, exclusive: Mapping[str, bool]) -> Iterator[Bound]:
        return (Bound(value, exclusive[k]) for k in exclusive for value in self.values_of(k))

    @cached_property
    def step(self) -> Fraction | None:
        """The number that a number must be a multiple of. Raises SchemaError if it is too large."""
        steps = [Fraction(value) for value in self.values_of("multipleOf")]
        if not steps:
            return None
        step = reduce(common_step, steps, Fraction(1) if self.integers_only else steps[0])
        if not is_decidable_step(step):
            [*_, pointer] = self.pointers_of("multipleOf")
            message = f"together with others, multipleOf must be a {STEP_DESCRIPTION}"
            raise SchemaError(pointer, message)
        return step

    @property
    def allows_any_number(self) -> bool:
        """Return whether some number is within the bounds."""
        integral = self.integers_only
        smallest = min_decimal(self.lower_bound, integral=integral)
        return smallest <= max_decimal(self.upper_bound, integral=integral)

    def allows_number(self, number: int | float) -> bool:
        """Return whether a number is within the bounds, and an integer if it must be."""
        if self.integers_only and number != int(number):
            return False
        low, high = self.lower_bound, self.upper_bound
        above = low is None or number > low.value or (number == low.value and not low.exclusive)
        below = high is None or number < high.value or (number == high.value and not high.exclusive)
        return above and below

    def is_multiple(self, number: int | float) -> bool:
        """Return whether a number, as written and as the nearest float, is a multiple of the
        step.
        """
        return all(self._multiples(number))

    def may_be_multiple(self, number: int | float) -> bool:
        """Return whether some validator may consider a number a multiple of the step."""
        return any(self._multiples(number))

    def _multiples(self, number: int | float) -> list[bool]:
        readings = (Fraction(number), Fraction(float(number)))
        return [self.step is None or reading % self.step == 0 for reading in readings]

    def item_pointers(self, i: int) -> Pointers:
        """Return the schemas of the i-th item of an array."""
        pointers = []
        for pointer, schema in zip(self.pointers, self.schemas, strict=True):
            if i < len(schema.get("prefixItems", ())):
                pointers.append(f"{pointer}/prefixItems/{i}")
            elif "items" in schema:
                pointers.append(f"{pointer}/items")
        return tuple(pointers)

    @cached_property
    def prefix_length(self) -> int:
        """The number of items with a schema of their own (`prefixItems`)."""
        return max(map(len, self.values_of("prefixItems")), default=0)

    @cached_property
    def required(self) -> dict[str, None]:
        """The names in `required`, in order."""
        return dict.fromkeys(name for names in self.values_of("required") for name in names)

    @cached_property
    def property_names(self) -> dict[str, None]:
        """The names in `properties`, then those that are only in `required`."""
        listed = dict.fromkeys(n for properties in self.values_of("properties") for n in properties)
        return listed | self.required


def type_of(value: Any) -> str:
    """Return the JSON type of a value."""
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


def equality_key(value: Any) -> Any:
    """Return a key that is equal for equal JSON values: 1 equals 1.0 and not true, at any depth."""
    match value:
        case list():
            return ("array", *map(equality_key, value))
        case dict():
            return ("object", frozenset((name, equality_key(v)) for name, v in value.items()))
        case _:
            return (type_of(value), value)
