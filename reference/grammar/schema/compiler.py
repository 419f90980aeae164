"""JSON Schema, draft 2020-12, as a language: the texts of the instances of a schema.

A schema is followed as far as a conjunction of *places* in the document goes: `$ref` and `allOf`
add places, `anyOf` and `oneOf` are choices between them (`schema_document`). What all places of a
conjunction say of one type (`schema_own`) is put together into one expression; what they say of its
parts is a conjunction again, and a rule of its own, so schemas may refer to themselves.

The names of an object come in the order in which `properties` lists them (a schema's own first,
then those of what it refers to), then those that are only `required`, then any others.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from reference.grammar.language import numbers
from reference.grammar.language.derivatives import prune_unproductive
from reference.grammar.language.errors import SchemaError
from reference.grammar.language.expressions import (
    EMPTY,
    NOTHING,
    Expression,
    Language,
    Token,
    either,
    literal,
    optional,
    reference,
    repeat,
    then,
    token,
)
from reference.grammar.language.json_grammar import (
    COMMA,
    OBJECT,
    RULES,
    VALUE,
    canonical,
    enclosed,
    name_but,
    pair,
    some,
    string_of,
    whole_text,
)
from reference.grammar.schema.constraints import PARTS, Own, type_of
from reference.grammar.schema.disjointness import check_apart
from reference.grammar.schema.document import Document, Places
from reference.grammar.schema.strings import fitting, strings

MOST_RULES = 5_000
MOST_NESTED = 60


def compile_schema(schema: Mapping[str, Any] | bool) -> Language:
    """The texts of a schema's instances, white space before them included. Raises SchemaError,
    naming the place and the keyword; TooComplex past the bounds.
    """
    if not isinstance(schema, Mapping | bool):
        raise SchemaError("", "it is no schema")
    document = Document(schema)
    compiler = Compiler(document)
    start = compiler.value(("",))
    check_apart(document)
    language = prune_unproductive(Language(whole_text(start), compiler.rules))
    if language.start is NOTHING:
        raise SchemaError("", "no text is an instance of it")
    return language


class Compiler:
    """From one document, the rules of its places."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.rules: dict[str, Expression] = dict(RULES)
        self._names: dict[tuple[Places, ...], str] = {}
        self._numbers = count()
        self._depth = 0

    def value(self, places: Places) -> Expression:
        """The instances of all these schemas at once."""
        bases = tuple(self.document.bases(places))
        if bases in self._names:
            return reference(self._names[bases])
        name = self._names[bases] = self._name("value")
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise SchemaError(places[0], f"schemas are nested more than {MOST_NESTED} deep")
        found = self.rules[name] = either([self.typed(base) for base in bases])
        self._depth -= 1
        return found if found is NOTHING or isinstance(found, Token) else reference(name)

    def typed(self, base: Places) -> Expression:
        """What all own keywords of the places allow, type by type."""
        if not base:
            return VALUE
        own = Own(base, tuple(self.document.at(place) for place in base))
        if own.values is not None:
            return either(map(canonical, self._fitting(own.values, own)))
        kinds: dict[str, Callable[[], Expression]] = {
            "null": lambda: token(literal("null")),
            "boolean": lambda: token(either([literal("true"), literal("false")])),
            "number": lambda: token(number(own)),
            "string": lambda: token(strings(own)),
            "array": lambda: self.array(own),
            "object": lambda: self.object(own),
        }
        return either([make() for kind, make in kinds.items() if kind in own.types])

    def _fitting(self, values: list[Any], own: Own) -> list[Any]:
        """The values of `enum` or `const` that the other keywords allow."""
        found = [v for v in values if type_of(v) in own.types]
        words = fitting([v for v in found if isinstance(v, str)], own)
        for place, keyword in ((p, k) for k in PARTS for p, _ in own.get(k)):
            if any(isinstance(v, dict | list) for v in found):
                raise SchemaError(f"{place}/{keyword}", "beside enum or const: not supported")
        return [v for v in found if fits(v, own, words)]

    def array(self, own: Own) -> Expression:
        fixed, least, most = own.fixed, own.least("minItems"), own.most("maxItems")
        if most is not None and least > most:
            return NOTHING
        if not own.get("items") and not fixed and not least and most is None:
            return reference("array")
        if most == 0:
            return enclosed("[", NOTHING, "]", may_be_empty=True)
        content = self._items(own, fixed, least, most)
        return enclosed("[", content, "]", may_be_empty=least == 0)

    def _items(self, own: Own, fixed: int, least: int, most: int | None) -> Expression:
        rest = self.value(own.items(fixed))
        if not fixed:
            return some(rest, least, most)
        left = None if most is None else max(0, most - fixed)
        after = repeat(then(COMMA, rest), max(0, least - fixed), left)
        for i in range(fixed - 1, 0, -1):
            following = then(COMMA, then(self.value(own.items(i)), after))
            if most is not None and i >= most:
                following = EMPTY
            after = self._rule("items", optional(following) if i >= least else following)
        return then(self.value(own.items(0)), after)

    def object(self, own: Own) -> Expression:
        if not own.names and not own.get("additionalProperties"):
            return OBJECT
        members = [self._member(name, own) for name in own.names]
        rest = self.value(own.places_of("additionalProperties"))
        others = self._rule("members", some(pair(name_but(list(own.names)), rest)))
        required = [name in own.required for name in own.names]
        after: list[Expression] = []  # what may follow, when the last that came was the i-th
        for i in range(len(members), 0, -1):
            following = then(COMMA, one_of_next(i, members, required, after[::-1], others))
            may_end = not any(required[i:])
            after.append(self._rule("members", optional(following) if may_end else following))
        content = one_of_next(0, members, required, after[::-1], others)
        return enclosed("{", content, "}", may_be_empty=not any(required))

    def _member(self, name: str, own: Own) -> Expression:
        return self._rule("member", pair(string_of(literal(name)), self.value(own.property(name))))

    def _rule(self, kind: str, expression: Expression) -> Expression:
        if expression in (NOTHING, EMPTY):
            return expression
        name = self._name(kind)
        self.rules[name] = expression
        return reference(name, may_be_empty=expression.nullable)

    def _name(self, kind: str) -> str:
        if len(self.rules) >= MOST_RULES:
            raise SchemaError("", f"it needs more than {MOST_RULES} rules")
        return f"{kind}{next(self._numbers)}"


def one_of_next(
    i: int,
    members: list[Expression],
    required: list[bool],
    after: list[Expression],
    others: Expression,
) -> Expression:
    """The next member of an object: the i-th or, as far as none that is required is left out, a
    later one. after: what follows each, from the i-th on.
    """
    options = []
    for j in range(i, len(members)):
        options.append(then(members[j], after[j - i]))
        if required[j]:
            return either(options)
    return either([*options, others])


def number(own: Own) -> Expression:
    return (numbers.integers if own.integers else numbers.numbers)(own.low, own.high)


def fits(value: Any, own: Own, words: list[str]) -> bool:
    """words: the strings that fit."""
    match value:
        case bool() | None:
            return True
        case int() | float():
            return own.has(value)
        case str():
            return value in words
        case list():
            return len(value) >= own.least("minItems") and not (
                (most := own.most("maxItems")) is not None and len(value) > most
            )
        case _:
            return True
