"""response_format: what the text must be."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from conformance.answer import Choice
from conformance.capabilities import SEEDS
from conformance.client import Server
from conformance.demands import error_of, refused, require, same_answer
from conformance.registry import consistency, protocol
from conformance.verdicts import Evidence, Inconclusive, Level

OBJECT = {"type": "json_object"}
COLOURS = ("red", "green")
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": list(COLOURS)},
        "count": {"type": "integer"},
    },
    "required": ["colour", "count"],
    "additionalProperties": False,
}
PATTERN = r"[ab]{2,4}-[0-9]{3}"
PROMPT = 'What is on the table, as a JSON object with "colour" and "count":\n'
TRIES = 6
STRING = r'(?s:"(?:[^"\\]|\\.)*(?:"|\\?$))'


def of_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def of_pattern(regex: Any) -> dict[str, Any]:
    return {"type": "regex", "regex": regex}


@protocol(Level.MUST, Evidence.EXACT)
def wrong_shapes_are_refused(server: Server) -> None:
    """What is no object with a known type and what that type needs is a 422 that names the
    field.
    """
    wrong: list[Any] = ["text", [], 3, {}, {"type": None}, {"type": "yaml"}]
    wrong += [{"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "a"}}]
    wrong += [of_schema("object"), {"type": "regex"}, of_pattern(3)]
    refused(server, "response_format", wrong)


@protocol(Level.MUST, Evidence.EXACT)
def what_cannot_be_used_is_refused(server: Server) -> None:
    """A schema or a regular expression that means nothing is a 400 that says so in `error`."""
    for value in of_schema({"type": "no-such-type"}), of_pattern("(a"):
        error_of(server.post(response_format=value), 400)


@consistency(Level.MUST, Evidence.METAMORPHIC)
def text_is_any_text(server: Server) -> None:
    """With null, and with the type `text`, the answer is the one without the field."""
    plain = server.ask()
    for value in None, {"type": "text"}:
        answer = server.ask(response_format=value)
        same_answer(plain, answer, f"the same answer with {value} and without")


@consistency(Level.MUST, Evidence.METAMORPHIC, SEEDS)
def text_does_not_enter_the_draws(server: Server) -> None:
    """With null, and with the type `text`, a seed draws what it draws without the field."""
    fields = {"temperature": 1.5, "seed": server.rng.getrandbits(31)}
    plain = server.ask(**fields)
    for value in None, {"type": "text"}:
        answer = server.ask(response_format=value, **fields)
        same_answer(plain, answer, f"the same answer with {value} and without")


@consistency(Level.MUST, Evidence.EXACT)
def json_object_is_an_object(server: Server) -> None:
    """With `json_object` a text that ended by itself is a JSON object, and one that was cut off is
    the beginning of one.
    """
    for choice in drawn(server, OBJECT):
        well = is_object if choice.finish_reason == "stop" else begins_an_object
        require(well(choice.text), "a JSON object", f"{choice.json}", choice.at)


@consistency(Level.MUST, Evidence.EXACT)
def white_space_is_bounded(server: Server) -> None:
    """Between the parts of a JSON object there are at most 8 characters of white space in a run: a
    model that likes them could go on for ever.
    """
    for choice in drawn(server, OBJECT):
        run = re.search(r"\s{9,}", re.sub(STRING, '""', choice.text))
        require(run is None, "at most 8 characters of white space", repr(choice.text), choice.at)


@consistency(Level.MUST, Evidence.EXACT)
def json_schema_is_an_instance(server: Server) -> None:
    """With `json_schema` a text that ended by itself is an instance of the schema, and one that was
    cut off is the beginning of an object.
    """
    expected = f"an instance of {json.dumps(SCHEMA)}"
    every(server, of_schema(SCHEMA), is_instance, begins_an_object, expected)


@consistency(Level.MUST, Evidence.EXACT)
def regex_is_matched(server: Server) -> None:
    """With `regex` a text that ended by itself matches as a whole, and one that was cut off begins
    like one that does.
    """
    every(server, of_pattern(PATTERN), matches, begins_a_match, f"a text that matches {PATTERN}")


def drawn(server: Server, format: Any) -> Iterator[Choice]:
    """Texts of a format, the likeliest and random ones. Raises Inconclusive after them if each was
    cut off.
    """
    ended = False
    for i in range(TRIES):
        seed = {"temperature": 1, "seed": server.rng.getrandbits(31)} if i else {}
        answer = server.ask(prompt=PROMPT, max_tokens=48, response_format=format, **seed)
        ended = ended or answer.choice.finish_reason == "stop"
        yield answer.choice
    if not ended:
        raise Inconclusive("every text was cut off at max_tokens")


def every(
    server: Server,
    format: Any,
    holds: Callable[[str], bool],
    begins: Callable[[str], bool],
    expected: str,
) -> None:
    for choice in drawn(server, format):
        well = holds if choice.finish_reason == "stop" else begins
        require(well(choice.text), expected, repr(choice.text), choice.at)


def begins_a_match(text: str) -> bool:
    return re.fullmatch(r"[ab]{0,4}|[ab]{2,4}-[0-9]{0,3}", text) is not None


def value_of(text: str) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def is_object(text: str) -> bool:
    return isinstance(value_of(text), dict)


def is_instance(text: str) -> bool:
    found = value_of(text)
    return (
        isinstance(found, dict)
        and found.keys() == {"colour", "count"}
        and found["colour"] in COLOURS
        and whole(found["count"])
    )


def whole(value: Any) -> bool:
    """To JSON Schema 1.0 is an integer."""
    return type(value) is int or (isinstance(value, float) and value.is_integer())


def matches(text: str) -> bool:
    return re.fullmatch(PATTERN, text) is not None


def begins_an_object(text: str) -> bool:
    """Whether some end makes it one: what may be missing of a string, a number or a word, then of
    a pair, then the brackets.
    """
    closing = brackets(text)
    tokens = ("", '"', 'n"', *("0" * i + '"' for i in range(1, 5)), "0", ".0", *TAILS)
    return not text.strip() or any(
        is_object(text + token + pair + closing) for token, pair in product(tokens, PAIRS)
    )


PAIRS = ("", ":0", '":0')
TAILS = tuple(word[i:] for word in ("true", "false", "null") for i in range(1, len(word)))


def brackets(text: str) -> str:
    """Those that close what is open outside of strings."""
    found: list[str] = []
    for mark in re.findall(rf"{STRING}|[{{}}\[\]]", text):
        if mark in "{[":
            found.append("}" if mark == "{" else "]")
        elif mark in "}]" and found:
            found.pop()
    return "".join(reversed(found))
