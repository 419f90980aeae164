"""Mutants of the response format."""

import itertools

from starlette.types import ASGIApp, Receive, Scope, Send

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import drop_fields
from tests.conformance.mutations.responses import (
    RawResponse,
    each_choice,
    mutate_json,
    mutate_response,
    mutate_text,
)


@mutant("response/top-level-fields")
def created_in_milliseconds(model: Bundle) -> ASGIApp:
    """Report `created` in milliseconds."""
    return mutate_json(conforming_app(model), lambda a: a | {"created": a["created"] * 1000})


@mutant("response/system-fingerprint")
def fingerprint_per_response(model: Bundle) -> ASGIApp:
    """Report another fingerprint in each response."""
    return mutate_json(conforming_app(model), lambda a: a | {"system_fingerprint": f"fp_{a['id']}"})


@mutant("response/choice-fields")
def renamed_finish_reason(model: Bundle) -> ASGIApp:
    """Report the finish_reason `length` as `max_tokens`."""

    def rename(choice: Json) -> None:
        if choice["finish_reason"] == "length":
            choice["finish_reason"] = "max_tokens"

    return mutate_json(conforming_app(model), each_choice(rename))


@mutant("response/stop-reason-field")
def missing_stop_reason(model: Bundle) -> ASGIApp:
    """Leave out `stop_reason`."""
    return mutate_json(conforming_app(model), each_choice(lambda c: c.pop("stop_reason")))


@mutant("response/logprobs-null-by-default")
def empty_logprobs_object(model: Bundle) -> ASGIApp:
    """Report empty lists instead of null if no log-probabilities are requested."""

    def fill(choice: Json) -> None:
        names = "tokens", "token_logprobs", "top_logprobs", "text_offset"
        choice["logprobs"] = choice["logprobs"] or {name: [] for name in names}

    return mutate_json(conforming_app(model), each_choice(fill))


@mutant("response/unique-ids")
def repeated_ids(model: Bundle) -> ASGIApp:
    """Repeat two ids."""
    ids = itertools.cycle(("cmpl-0", "cmpl-1"))
    return mutate_json(conforming_app(model), lambda a: a | {"id": next(ids)})


@mutant("response/json-content-type")
def text_content_type(model: Bundle) -> ASGIApp:
    """Send the content type of plain text."""

    def rename(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        return status, headers | {"content-type": "text/plain; charset=utf-8"}, text

    return mutate_response(conforming_app(model), rename)


@mutant("response/finite-numbers")
def nan_for_null(model: Bundle) -> ASGIApp:
    """Write NaN for the log-probability of the first echoed token."""
    before, after = '"token_logprobs":[null', '"token_logprobs":[NaN'
    return mutate_text(conforming_app(model), lambda text, kind: text.replace(before, after))


@mutant("response/both-paths-equal")
def alias_drops_temperature(model: Bundle) -> ASGIApp:
    """Drop the temperature at one of the two paths."""
    app, alias = conforming_app(model), drop_fields(conforming_app(model), "temperature")

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        openai = scope.get("path", "").startswith("/v1/openai")
        await (alias if openai else app)(scope, receive, send)

    return broken
