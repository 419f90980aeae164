"""stream_options, broken."""

from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Json, answering, asking, whole, without


@mutant("stream_options/wrong-types-are-refused")
def no_object_is_none(model: Bundle) -> ASGIApp:
    """What is no object is taken for null."""

    def null(body: Json) -> Json:
        options: Any = body.get("stream_options")
        return body | {"stream_options": options if isinstance(options, dict) else None}

    return asking(whole(model), null)


@mutant("stream_options/usage-is-there-by-default")
def off_by_default(model: Bundle) -> ASGIApp:
    """include_usage is false unless it is true."""

    def off(body: Json) -> Json:
        options = {"include_usage": False} | (body.get("stream_options") or {})
        return body | {"stream_options": options}

    return asking(whole(model), off)


@mutant("stream_options/include-usage-may-be-false")
def ignored(model: Bundle) -> ASGIApp:
    """They are accepted and dropped."""
    return without(whole(model), "stream_options")


@mutant("stream_options/usage-may-run-along")
def total_of_the_prompt(model: Bundle) -> ASGIApp:
    """The running total is that of the prompt until the end."""

    def change(event: Json) -> Json:
        usage = event.get("usage")
        if usage and not event["choices"][0]["finish_reason"]:
            usage["total_tokens"] = usage["prompt_tokens"]
        return event

    return answering(whole(model), event=change)


@mutant("stream_options/usage-may-run-along")
def of_the_whole(model: Bundle) -> ASGIApp:
    """Every event has the usage of the whole answer: it was generated before it was sent."""
    known: Json = {}

    def remember(body: Json) -> Json:
        known["tokens"] = (body.get("max_tokens") or 16) * body.get("n", 1)
        return body

    def change(event: Json) -> Json:
        if usage := event.get("usage"):
            usage["completion_tokens"] = known["tokens"]
            usage["total_tokens"] = usage["prompt_tokens"] + known["tokens"]
        return event

    return asking(answering(whole(model), event=change), remember)
