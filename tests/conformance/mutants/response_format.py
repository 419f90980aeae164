"""response_format, broken. Our servers refuse all formats but text, so that what others get wrong
is put in their mouths.
"""

from typing import Any

from starlette.types import ASGIApp

from reference.model import Model
from tests.conformance.breaking import Json, answering, asking, each_choice, whole, without
from tests.conformance.mutants import mutant

TYPES = ("text", "json_object", "json_schema", "regex")


def saying(model: Model, text: str, reason: str = "stop") -> ASGIApp:
    """Every format is accepted, and the text is always the same."""
    said = {"text": text, "finish_reason": reason}
    app = without(whole(model), "response_format")
    return answering(app, each_choice(lambda choice: choice.update(said)))


def kind(body: Json) -> Any:
    found = body.get("response_format")
    return found.get("type") if isinstance(found, dict) else None


@mutant("response_format/wrong-shapes-are-refused")
def unknown_is_text(model: Model) -> ASGIApp:
    """A type that is not known is text."""

    def text(body: Json) -> Json:
        unknown = isinstance(kind(body), str) and kind(body) not in TYPES
        return body | ({"response_format": None} if unknown else {})

    return asking(whole(model), text)


@mutant("response_format/what-cannot-be-used-is-refused")
def unusable_is_none(model: Model) -> ASGIApp:
    """A regular expression that does not compile is left out."""
    drop = {"response_format": None}
    return asking(whole(model), lambda b: b | (drop if kind(b) == "regex" else {}))


@mutant("response_format/text-is-any-text")
def a_chat(model: Model) -> ASGIApp:
    """With a format the prompt is put into a template."""

    def chat(body: Json) -> Json:
        return body | ({"prompt": f"User: {body['prompt']}"} if kind(body) else {})

    return asking(whole(model), chat)


@mutant("response_format/text-does-not-enter-the-draws")
def another_sampler(model: Model) -> ASGIApp:
    """With a format the draws are another sampler's."""

    def other(body: Json) -> Json:
        return body | ({"seed": body["seed"] + 1} if kind(body) and "seed" in body else {})

    return asking(whole(model), other)


@mutant(
    "response_format/json-object-is-an-object",
    "response_format/json-schema-is-an-instance",
    "response_format/regex-is-matched",
)
def ignored(model: Model) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), "response_format")


@mutant("response_format/json-object-is-an-object")
def one_brace_missing(model: Model) -> ASGIApp:
    """The text ends before it is complete."""
    return saying(model, '{"colour": "red", "count": {"a": 2}')


@mutant("response_format/json-object-is-an-object")
def talk_before_it(model: Model) -> ASGIApp:
    """The text begins with something else, and is cut off."""
    return saying(model, 'Here it is: {"colour": "red", "count": 2}', "length")


@mutant("response_format/json-object-is-an-object")
def a_list(model: Model) -> ASGIApp:
    """The text is JSON, and no object."""
    return saying(model, '[{"colour": "red"}]')


@mutant("response_format/white-space-is-bounded")
def much_space(model: Model) -> ASGIApp:
    """White space may be of any length."""
    return saying(model, '{"a": "b",' + 20 * " " + '"c": 1}')


@mutant("response_format/json-schema-is-an-instance")
def no_enum(model: Model) -> ASGIApp:
    """Types are seen to, and enumerations are not."""
    return saying(model, '{"colour": "blue", "count": 2}')


@mutant("response_format/regex-is-matched")
def in_the_beginning(model: Model) -> ASGIApp:
    """The beginning of the text matches, and it goes on."""
    return saying(model, "abba-123, and so on")
