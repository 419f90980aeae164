"""Changes of response formats, and of the texts that they constrain."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import broken_when, drop_fields, mutate_body
from tests.conformance.mutations.responses import each_choice, mutate_json


def fixed_text(model: Bundle, text: str, reason: str = "stop") -> ASGIApp:
    """Accept every format, and always answer with the same text."""
    fields = {"text": text, "finish_reason": reason}
    app = drop_fields(conforming_app(model), "response_format")
    return mutate_json(app, each_choice(lambda choice: choice.update(fields)))


def format_type(body: Json) -> Any:
    """Return the type of a request's format, or None."""
    value = body.get("response_format")
    return value.get("type") if isinstance(value, dict) else None


def with_format(model: Bundle, broken: ASGIApp) -> ASGIApp:
    """Answer requests with a format other than `text` with another app."""
    return broken_when(model, lambda body: format_type(body) not in (None, "text"), broken)


def drop_format_when(model: Bundle, condition: Callable[[Json], Any]) -> ASGIApp:
    """Drop the format of requests that satisfy a condition."""
    return broken_when(model, condition, drop_fields(conforming_app(model), "response_format"))


def with_schemas(model: Bundle, change: Callable[[Json], Json]) -> ASGIApp:
    """Change each schema and each subschema."""

    def change_all(part: Any) -> Any:
        if isinstance(part, list):
            return [change_all(item) for item in part]
        if isinstance(part, dict):
            return change({name: change_all(item) for name, item in part.items()})
        return part

    def changed(body: Json) -> Json:
        if format_type(body) == "json_schema":
            json_schema = body["response_format"]["json_schema"]
            json_schema["schema"] = change_all(json_schema["schema"])
        return body

    return mutate_body(conforming_app(model), changed)


def without_keywords(model: Bundle, *names: str) -> ASGIApp:
    """Remove keywords from each schema."""
    return with_schemas(model, lambda s: {k: v for k, v in s.items() if k not in names})


def with_regexes(model: Bundle, change: Callable[[str], str]) -> ASGIApp:
    """Change each regular expression."""

    def changed(body: Json) -> Json:
        if format_type(body) == "regex":
            response_format = body["response_format"]
            response_format["regex"] = change(response_format["regex"])
        return body

    return mutate_body(conforming_app(model), changed)


def with_constrained_choices(model: Bundle, change: Callable[[Json], None]) -> ASGIApp:
    """Change the choices and events of requests with a format."""
    return with_format(
        model, mutate_json(conforming_app(model), each_choice(change), each_choice(change))
    )
