"""What a `response_format` asks for, as a language."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from reference.grammar.language.derivatives import prune_unproductive
from reference.grammar.language.errors import RegexError, SchemaError, TooComplex
from reference.grammar.language.errors import UnsupportedFormat as UnsupportedFormat
from reference.grammar.language.expressions import NOTHING, Language, token
from reference.grammar.language.json_grammar import JSON_OBJECT
from reference.grammar.language.regex import compile_regex
from reference.grammar.schema.compiler import compile_schema

REMEMBERED = 32
MOST_CHARACTERS = 100_000


def compile_format(response_format: Mapping[str, Any] | None) -> Language | None:
    """The texts that it allows; None if it allows every text.

    Meaning:   `text` is any text; `json_object` a JSON object (`json_text` says how it is written);
               `json_schema` an instance of its `schema`; `regex` a text that matches as a whole.
    Boundary:  what cannot be honoured exactly is refused, and what takes too much to tell.
    Off value: null, or {"type": "text"}.

    Raises UnsupportedFormat, naming the field, and of a schema the place and the keyword.
    """
    if response_format is None or response_format.get("type") == "text":
        return None
    try:
        text = json.dumps(response_format)
    except (RecursionError, ValueError):
        message = "response_format: it is nested too deeply, or has too large a number"
        raise UnsupportedFormat(message) from None
    if len(text) > MOST_CHARACTERS:
        raise UnsupportedFormat(f"response_format: it has more than {MOST_CHARACTERS} characters")
    return remembered(text)


@lru_cache(REMEMBERED)
def remembered(text: str) -> Language:
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
                return of_regex(value["regex"])
    except (SchemaError, RegexError, TooComplex) as error:
        raise UnsupportedFormat(f"response_format.{field}: {error}") from error
    except RecursionError:
        raise UnsupportedFormat(f"response_format.{field}: it is nested too deeply") from None
    raise UnsupportedFormat(f"response_format: the type {kind!r} is not known")


def of_regex(pattern: str) -> Language:
    language = prune_unproductive(Language(token(compile_regex(pattern))))
    if language.start is NOTHING:
        raise RegexError("no text matches")
    return language
