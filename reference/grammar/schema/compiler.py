"""JSON Schema, draft 2020-12, compiled to a formal language: the JSON texts of its instances.

`document` turns `$ref`, `allOf`, `anyOf` and `oneOf` into alternatives, each a conjunction of
schemas. The compiler writes each conjunction as one expression per type (`constraints`). The parts
of a value, items and properties, are conjunctions again, and each becomes a rule. So a schema may
refer to itself.

The members of an object come in the order of `properties` (a schema's own first, then those of
schemas it refers to), then names that are only `required`, then any others.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from reference.grammar.language import numbers
from reference.grammar.language.errors import SchemaError
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
    canonical_string,
    canonical_value,
    comma_separated,
    enclosed,
    object_member,
    string_except,
    with_leading_whitespace,
)
from reference.grammar.language.nodes import Expression, Token
from reference.grammar.language.pruning import prune_unproductive
from reference.grammar.schema.constraints import PART_KEYWORDS, Constraints, type_of
from reference.grammar.schema.disjointness import check_one_of_disjoint
from reference.grammar.schema.document import Document, Pointers
from reference.grammar.schema.strings import filter_strings, string_expression

MAX_RULES = 5_000
MAX_NESTING = 60


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
    language = prune_unproductive(Language(with_leading_whitespace(start), compiler.rules))
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
            values = self._filter_values(constraints.allowed_values, constraints)
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

    def _filter_values(self, values: list[Any], constraints: Constraints) -> list[Any]:
        """Return the values of `enum` or `const` that the other keywords allow."""
        typed = [v for v in values if type_of(v) in constraints.types]
        strings = filter_strings([v for v in typed if isinstance(v, str)], constraints)
        for keyword in PART_KEYWORDS:
            for pointer, _ in constraints.occurrences(keyword):
                if any(isinstance(v, dict | list) for v in typed):
                    message = "not supported together with enum or const"
                    raise SchemaError(f"{pointer}/{keyword}", message)
        return [v for v in typed if value_satisfies(v, constraints, strings)]

    def _array(self, constraints: Constraints) -> Expression:
        prefix_length = constraints.prefix_length
        min_items, max_items = constraints.minimum("minItems"), constraints.maximum("maxItems")
        if max_items is not None and min_items > max_items:
            return EMPTY_SET
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
        names = constraints.property_names
        if not names and not constraints.occurrences("additionalProperties"):
            return OBJECT
        members = [self._member(name, constraints) for name in names]
        additional = self.value(constraints.pointers_of("additionalProperties"))
        other_member = object_member(string_except(list(names)), additional)
        others = self._rule("members", comma_separated(other_member))
        required = [name in constraints.required for name in names]
        # Built from the last member to the first, as rests[::-1]: what may follow the i-th member.
        rests: list[Expression] = []
        for i in range(len(members), 0, -1):
            following = concat(COMMA, next_member(i, members, required, rests[::-1], others))
            may_end = not any(required[i:])
            rests.append(self._rule("members", optional(following) if may_end else following))
        content = next_member(0, members, required, rests[::-1], others)
        return enclosed("{", content, "}", may_be_empty=not any(required))

    def _member(self, name: str, constraints: Constraints) -> Expression:
        value = self.value(constraints.property_pointers(name))
        return self._rule("member", object_member(canonical_string(literal(name)), value))

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


def next_member(
    i: int,
    members: list[Expression],
    required: list[bool],
    rests: list[Expression],
    others: Expression,
) -> Expression:
    """The next member of an object: the i-th, a later one if no required one is skipped, or one of
    the others. rests: what follows each member, from the i-th on.
    """
    options = []
    for j in range(i, len(members)):
        options.append(concat(members[j], rests[j - i]))
        if required[j]:
            return union(options)
    return union([*options, others])


def number_expression(constraints: Constraints) -> Expression:
    """The numbers that the constraints allow."""
    build = numbers.integers if constraints.integers_only else numbers.numbers
    return build(constraints.lower_bound, constraints.upper_bound)


def value_satisfies(value: Any, constraints: Constraints, strings: list[str]) -> bool:
    """Return whether the constraints allow a value of an allowed type. strings: the strings that
    they allow.
    """
    match value:
        case bool() | None:
            return True
        case int() | float():
            return constraints.allows_number(value)
        case str():
            return value in strings
        case list():
            min_items, max_items = constraints.minimum("minItems"), constraints.maximum("maxItems")
            return min_items <= len(value) and (max_items is None or len(value) <= max_items)
        case _:
            return True
