"""Strings as schemas speak of them: `minLength`, `maxLength`, `pattern`, `format`."""

import json
from collections.abc import Iterator
from functools import reduce

from reference.grammar.language.derivatives import Derivatives, prune_unproductive
from reference.grammar.language.errors import RegexError, SchemaError
from reference.grammar.language.expressions import (
    ANY,
    NOTHING,
    Expression,
    Language,
    both,
    repeat,
)
from reference.grammar.language.formats import of_format
from reference.grammar.language.json_grammar import free_string, string_of
from reference.grammar.language.regex import compile_regex
from reference.grammar.schema.constraints import Own


def strings(own: Own) -> Expression:
    """Those that all keywords allow, as JSON."""
    least, most = own.least("minLength"), own.most("maxLength")
    contents = [*patterns(own), *map(of_format, own.values_of("format"))]
    if not contents:
        return free_string(least, most)
    if least or most is not None:
        contents.append(repeat(ANY, least, most))
    return string_of(reduce(both, contents))


def fitting(values: list[str], own: Own) -> list[str]:
    """Those of the values that all keywords allow."""
    derivatives = Derivatives(Language(strings(own)))
    return [v for v in values if derivatives.accepts(json.dumps(v, ensure_ascii=False).encode())]


def may_fit(value: str, own: Own) -> bool:
    """Whether some reader may find that all keywords allow it. Not every reader looks at `format`,
    and dialects of patterns differ.
    """
    longest = own.most("maxLength")
    if len(value) < own.least("minLength") or (longest is not None and len(value) > longest):
        return False
    wide = patterns(own, wide=True)
    return all(Derivatives(Language(p)).accepts(value.encode()) for p in wide)


def none_may_fit(own: Own) -> bool:
    """Whether surely no string does."""
    length = repeat(ANY, own.least("minLength"), own.most("maxLength"))
    whole = reduce(both, patterns(own, wide=True), length)
    return prune_unproductive(Language(whole)).start is NOTHING


def patterns(own: Own, *, wide: bool = False) -> Iterator[Expression]:
    for place, pattern in own.get("pattern"):
        try:
            yield compile_regex(pattern, anywhere=True, wide=wide)
        except RegexError as error:
            raise SchemaError(f"{place}/pattern", str(error)) from error
