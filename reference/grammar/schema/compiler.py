"""JSON Schema, draft 2020-12, compiled to a formal language: the JSON texts of its instances.

`document` turns `$ref`, `allOf`, `anyOf` and `oneOf` into alternatives, each a conjunction of
schemas. The compiler writes each conjunction as one expression per type (`constraints`). The parts
of a value, items and properties, are conjunctions again, and each becomes a rule. So a schema may
refer to itself.

The members of an object come in the order of `properties` (a schema's own first, then those of
schemas it refers to), then names that are only `required`, then any others.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from itertools import count
from typing import Any

from reference.grammar.language import numbers
from reference.grammar.language.errors import SchemaError, TooComplex
from reference.grammar.language.expressions import (
    EMPTY_SET,
    EPSILON,
    Language,
    concat,
    literal,
    optional,
    repeat,
    rule_ref,
    token,
    union,
)
from reference.grammar.language.json_grammar import (
    COMMA,
    OBJECT,
    RULES,
    VALUE,
    canonical_scalar,
    canonical_value,
    comma_separated,
    enclosed,
    object_member,
    with_leading_whitespace,
)
from reference.grammar.language.nodes import Expression, Token
from reference.grammar.language.pruning import prune_unproductive
from reference.grammar.schema.constraints import Constraints
from reference.grammar.schema.disjointness import check_one_of_disjoint
from reference.grammar.schema.document import Document, Pointers
from reference.grammar.schema.members import Members, object_of
from reference.grammar.schema.names import (
    listed_names,
    name_patterns,
    other_names,
    property_pointers,
)
from reference.grammar.schema.strings import string_expression
from reference.grammar.schema.values import filter_values, unique_arrays

MAX_RULES = 5_000
MAX_NESTING = 60
OBJECT_KEYWORDS = (
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
)


def compile_schema(schema: Mapping[str, Any] | bool) -> Language:
    """Return the JSON texts of a schema's instances, with optional leading white space.

    Raises SchemaError, naming the location and the keyword, and TooComplex past the bounds.
    """
    if not isinstance(schema, Mapping | bool):
        raise SchemaError("", "must be an object or a boolean")
    document = Document(schema)
    compiler = SchemaCompiler(document)
    start = compiler.value(("",))
    check_one_of_disjoint(document)
    grammar = Language(with_leading_whitespace(start), compiler.rules)
    language = prune_unproductive(grammar, document.work)
    if language.start is EMPTY_SET:
        raise SchemaError("", "no text is an instance of it")
    return language


class SchemaCompiler:
    """Compiles the schemas of one document to rules."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.rules: dict[str, Expression] = dict(RULES)
        self._rule_names: dict[tuple[Pointers, ...], str] = {}
        self._rule_numbers = count()
        self._depth = 0

    def value(self, pointers: Pointers) -> Expression:
        """The instances of all these schemas at once."""
        alternatives = tuple(self.document.alternatives(pointers))
        if alternatives in self._rule_names:
            return rule_ref(self._rule_names[alternatives])
        # Name the rule before compiling it: a recursive schema refers to it.
        name = self._rule_names[alternatives] = self._new_name("value")
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise SchemaError(pointers[0], f"schemas are nested more than {MAX_NESTING} deep")
        rule = self.rules[name] = union([self._alternative(a) for a in alternatives])
        self._depth -= 1
        return rule if rule is EMPTY_SET or isinstance(rule, Token) else rule_ref(name)

    def _alternative(self, pointers: Pointers) -> Expression:
        """The instances of one conjunction, type by type."""
        if not pointers:
            return VALUE
        constraints = Constraints(self.document, pointers)
        if constraints.allowed_values is not None:
            values = filter_values(constraints.allowed_values, constraints)
            return union(map(canonical_value, values))
        by_type: dict[str, Callable[[], Expression]] = {
            "null": lambda: token(literal("null")),
            "boolean": lambda: token(union([literal("true"), literal("false")])),
            "number": lambda: token(number_expression(constraints)),
            "string": lambda: token(string_expression(constraints)),
            "array": lambda: self._array(constraints),
            "object": lambda: self._object(constraints),
        }
        return union([build() for name, build in by_type.items() if name in constraints.types])

    def _array(self, constraints: Constraints) -> Expression:
        prefix_length = constraints.prefix_length
        min_items, max_items = constraints.minimum("minItems"), constraints.maximum("maxItems")
        if max_items is not None and min_items > max_items:
            return EMPTY_SET
        if any(constraints.values_of("uniqueItems")) and max_items not in (0, 1):
            return unique_arrays(constraints, self._rule)
        unconstrained = not constraints.occurrences("items") and not prefix_length
        if unconstrained and not min_items and max_items is None:
            return rule_ref("array")
        if max_items == 0:
            return enclosed("[", EMPTY_SET, "]", may_be_empty=True)
        content = self._items(constraints, prefix_length, min_items, max_items)
        return enclosed("[", content, "]", may_be_empty=min_items == 0)

    def _items(
        self, constraints: Constraints, prefix_length: int, min_items: int, max_items: int | None
    ) -> Expression:
        """The items of an array that is not empty."""
        extra_item = self.value(constraints.item_pointers(prefix_length))
        if not prefix_length:
            return comma_separated(extra_item, min_items, max_items)
        max_extra = None if max_items is None else max(0, max_items - prefix_length)
        # Built from the last item to the first. rest: what may follow the i-th item.
        rest = repeat(concat(COMMA, extra_item), max(0, min_items - prefix_length), max_extra)
        for i in range(prefix_length - 1, 0, -1):
            item = self.value(constraints.item_pointers(i))
            following = concat(COMMA, concat(item, rest))
            if max_items is not None and i >= max_items:
                following = EPSILON
            rest = self._rule("items", optional(following) if i >= min_items else following)
        return concat(self.value(constraints.item_pointers(0)), rest)

    def _object(self, constraints: Constraints) -> Expression:
        if not any(map(constraints.occurrences, OBJECT_KEYWORDS)):
            return OBJECT
        name_patterns(constraints)  # raises SchemaError if there are too many
        names = listed_names(constraints)
        members = Members(
            listed=[
                self._member(name, constraints) if is_allowed else EMPTY_SET
                for name, is_allowed in names.items()
            ],
            required=[name in constraints.required for name in names],
            other=self._other_member(names, constraints),
            min_count=constraints.minimum("minProperties"),
            max_count=constraints.maximum("maxProperties"),
        )
        if members.other is not EMPTY_SET and members.min_count > sum(members.required) + 1:
            [pointer, *_] = constraints.pointers_of("minProperties")
            message = "supported only up to one more than the required properties, "
            message += "since additional ones may repeat a name"
            raise SchemaError(pointer, message)
        return object_of(members, self._rule)

    def _member(self, name: str, constraints: Constraints) -> Expression:
        value = self.value(property_pointers(constraints, name, certain=False))
        return object_member(literal(canonical_scalar(name)), value)

    def _other_member(self, names: Collection[str], constraints: Constraints) -> Expression:
        members = [
            object_member(name, self.value(pointers))
            for name, pointers in other_names(constraints, names)
        ]
        return self._rule("member", union(members))

    def _rule(self, kind: str, expression: Expression) -> Expression:
        """Add a rule, and return a reference to it."""
        if expression in (EMPTY_SET, EPSILON):
            return expression
        name = self._new_name(kind)
        self.rules[name] = expression
        return rule_ref(name, may_be_empty=expression.nullable)

    def _new_name(self, kind: str) -> str:
        if len(self.rules) >= MAX_RULES:
            raise SchemaError("", f"needs more than {MAX_RULES} grammar rules")
        return f"{kind}{next(self._rule_numbers)}"


def number_expression(constraints: Constraints) -> Expression:
    """The numbers that the constraints allow."""
    integral, step = constraints.integers_only, constraints.step
    build = numbers.integers if integral else numbers.numbers
    if step is None:
        return build(constraints.lower_bound, constraints.upper_bound)
    multiples = partial(constraints.document.multiples.non_negative, step, integral=integral)
    try:
        return build(constraints.lower_bound, constraints.upper_bound, multiples)
    except TooComplex as error:
        [pointer, *_] = constraints.pointers_of("multipleOf")
        raise SchemaError(pointer, str(error)) from error
