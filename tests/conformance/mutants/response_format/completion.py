"""Mutants that end constrained texts wrongly, or constrain only some choices."""

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutants.response_format.helpers import (
    drop_format_when,
    with_constrained_choices,
    with_format,
)
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import drop_fields, replace_field


@mutant("response_format/complete-value-ends")
def finish_reason_always_length(model: Bundle) -> ASGIApp:
    """Report the finish_reason length for complete texts."""
    return with_constrained_choices(model, lambda choice: choice.update(finish_reason="length"))


@mutant("response_format/truncated-is-valid-prefix")
def truncated_value_closed(model: Bundle) -> ASGIApp:
    """Close a JSON value that is cut off."""

    def close(choice: Json) -> None:
        if choice["finish_reason"] == "length":
            choice["text"] += '"}'

    return with_constrained_choices(model, close)


@mutant("response_format/truncated-is-valid-prefix")
def finish_reason_always_stop(model: Bundle) -> ASGIApp:
    """Report the finish_reason stop for texts that are cut off."""
    return with_constrained_choices(model, lambda choice: choice.update(finish_reason="stop"))


@mutant("response_format/stop-string-ends-value")
def stop_strings_ignored(model: Bundle) -> ASGIApp:
    """Ignore stop strings if there is a format."""
    return with_format(model, drop_fields(conforming_app(model), "stop"))


@mutant("response_format/every-choice-constrained")
def multiple_choices_unconstrained(model: Bundle) -> ASGIApp:
    """Ignore the format if there are several choices."""
    return drop_format_when(model, lambda body: body.get("n", 1) > 1)


@mutant("response_format/every-choice-constrained")
def prompt_list_unconstrained(model: Bundle) -> ASGIApp:
    """Ignore the format if there is a list of prompts."""
    return drop_format_when(model, lambda body: isinstance(body["prompt"], list))


@mutant("response_format/every-choice-constrained", "response_format/seed-repeatable")
def streams_unconstrained(model: Bundle) -> ASGIApp:
    """Ignore the format of a streaming request."""
    return drop_format_when(model, lambda body: body.get("stream"))


@mutant("response_format/every-choice-constrained")
def echo_unconstrained(model: Bundle) -> ASGIApp:
    """Ignore the format of a request with echo."""
    return drop_format_when(model, lambda body: body.get("echo"))


@mutant("response_format/seed-repeatable")
def seed_ignored(model: Bundle) -> ASGIApp:
    """Ignore the seed if there is a format."""
    return with_format(model, drop_fields(conforming_app(model), "seed"))


@mutant("response_format/seed-repeatable")
def always_greedy(model: Bundle) -> ASGIApp:
    """Sample the argmax if there is a format."""
    return with_format(model, replace_field(conforming_app(model), "temperature", lambda _: 0))
