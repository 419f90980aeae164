"""Mutants of the checks of stream_options."""

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import drop_fields, mutate_body
from tests.conformance.mutations.responses import mutate_json


@mutant("stream_options/option-types")
def wrong_options_dropped(model: Bundle) -> ASGIApp:
    """Drop an option that is not a boolean."""

    def drop(body: Json) -> Json:
        options: Any = body.get("stream_options")
        if not isinstance(options, dict):
            return body
        return body | {"stream_options": {k: v for k, v in options.items() if v in (True, False)}}

    return mutate_body(conforming_app(model), drop)


@mutant("stream_options/usage-by-default")
def usage_off_by_default(model: Bundle) -> ASGIApp:
    """Treat include_usage as false by default."""

    def turn_off(body: Json) -> Json:
        options = {"include_usage": False} | (body.get("stream_options") or {})
        return body | {"stream_options": options}

    return mutate_body(conforming_app(model), turn_off)


@mutant("stream_options/include-usage-false")
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the options."""
    return drop_fields(conforming_app(model), "stream_options")


@mutant("stream_options/continuous-usage")
def total_of_prompt(model: Bundle) -> ASGIApp:
    """Report the tokens of the prompt as the total until the end."""

    def change(event: Json) -> Json:
        usage = event.get("usage")
        if usage and not event["choices"][0]["finish_reason"]:
            usage["total_tokens"] = usage["prompt_tokens"]
        return event

    return mutate_json(conforming_app(model), event=change)


@mutant("stream_options/continuous-usage")
def final_usage_throughout(model: Bundle) -> ASGIApp:
    """Report the final usage on every event, as if the whole text were generated first."""
    known: Json = {}

    def remember(body: Json) -> Json:
        known["tokens"] = (body.get("max_tokens") or 16) * body.get("n", 1)
        return body

    def change(event: Json) -> Json:
        if usage := event.get("usage"):
            usage["completion_tokens"] = known["tokens"]
            usage["total_tokens"] = usage["prompt_tokens"] + known["tokens"]
        return event

    return mutate_body(mutate_json(conforming_app(model), event=change), remember)
