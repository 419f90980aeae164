"""Compiles a `response_format` to the formal language of the allowed outputs."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from reference.grammar.language.errors import RegexError, SchemaError, TooComplex
from reference.grammar.language.errors import UnsupportedFormat as UnsupportedFormat
from reference.grammar.language.expressions import EMPTY_SET, Language, token
from reference.grammar.language.json_grammar import JSON_OBJECT
from reference.grammar.language.pruning import prune_unproductive
from reference.grammar.language.regex import compile_regex
from reference.grammar.schema.compiler import compile_schema

CACHE_SIZE = 32  # languages
MAX_CHARACTERS = 100_000


def compile_format(response_format: Mapping[str, Any] | None) -> Language | None:
    """Compile a `response_format` to the language of the outputs that it allows; None if it allows
    every text.

    Meaning:   `text` allows any text; `json_object` a JSON object (`json_grammar` defines its
               form); `json_schema` an instance of its `schema`; `regex` a text that matches as a
               whole.
    Boundary:  a format that cannot be enforced exactly, or is too complex, is rejected.
    Off value: null, or {"type": "text"}.
    Example:   a regular expression that matches two texts; a prefix of one is not a match.
               >>> from reference.grammar.language.derivatives import Derivatives
               >>> texts = Derivatives(compile_format({"type": "regex", "regex": "[ab]c"}))
               >>> texts.accepts(b"ac"), texts.accepts(b"bc"), texts.accepts(b"b")
               (True, True, False)

    Raises UnsupportedFormat, naming the field, and in a schema the location and the keyword.
    """
    if response_format is None or response_format.get("type") == "text":
        return None
    try:
        text = json.dumps(response_format)
    except (RecursionError, ValueError):
        message = "response_format: nested too deeply, or a number is too large"
        raise UnsupportedFormat(message) from None
    if len(text) > MAX_CHARACTERS:
        raise UnsupportedFormat(f"response_format: must have at most {MAX_CHARACTERS} characters")
    return compile_json(text)


@lru_cache(CACHE_SIZE)
def compile_json(text: str) -> Language:
    """Compile a `response_format` given as JSON."""
    value = json.loads(text)
    kind = value.get("type")
    try:
        match kind:
            case "json_object":
                return JSON_OBJECT
            case "json_schema":
                field = "json_schema.schema"
                return compile_schema(value["json_schema"]["schema"])
            case "regex":
                field = "regex"
                return regex_language(value["regex"])
    except (SchemaError, RegexError, TooComplex) as error:
        raise UnsupportedFormat(f"response_format.{field}: {error}") from error
    except RecursionError:
        raise UnsupportedFormat(f"response_format.{field}: nested too deeply") from None
    raise UnsupportedFormat(f"response_format: the type {kind!r} is not known")


def regex_language(pattern: str) -> Language:
    """Return the texts that a pattern matches as a whole. Raises RegexError if there are none."""
    language = prune_unproductive(Language(token(compile_regex(pattern))))
    if language.start is EMPTY_SET:
        raise RegexError("no text matches")
    return language
