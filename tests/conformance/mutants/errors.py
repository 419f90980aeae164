"""Mutants of the checks of errors."""

import json
import re
from collections.abc import Callable

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import NAME, Json, conforming_app
from tests.conformance.mutations.requests import mutate_body, mutate_raw_body
from tests.conformance.mutations.responses import RawResponse, mutate_response


def replace_status(model: Bundle, old: int, new: int, part: str = "") -> ASGIApp:
    """Replace a status by another if the text of the response has a part."""

    def change(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        return (new if status == old and part in text else status), headers, text

    return mutate_response(conforming_app(model), change)


def change_errors(model: Bundle, change: Callable[[list[Json]], list[Json]]) -> ASGIApp:
    """Change the errors of a 422."""

    def changed(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        if status == 422:
            text = json.dumps({"detail": change(json.loads(text)["detail"])})
        return status, headers, text

    return mutate_response(conforming_app(model), changed)


@mutant("errors/malformed-json")
def trailing_data_ignored(model: Bundle) -> ASGIApp:
    """Ignore data after the first object of a body."""

    def first(body: bytes) -> bytes:
        try:
            value, _ = json.JSONDecoder().raw_decode(body.decode())
        except (ValueError, RecursionError):
            return body
        return json.dumps(value).encode()

    return mutate_raw_body(conforming_app(model), first)


@mutant("errors/non-object-body")
def list_of_one_accepted(model: Bundle) -> ASGIApp:
    """Accept a list of one request."""
    return mutate_raw_body(
        conforming_app(model), lambda b: b[1:-1] if b.startswith(b'[{"model') else b
    )


@mutant("errors/boolean-as-number")
def booleans_as_numbers(model: Bundle) -> ASGIApp:
    """Treat booleans as numbers, as Python does."""

    def change(body: Json) -> Json:
        return {k: int(v) if v is True and k != "stream" else v for k, v in body.items()}

    return mutate_body(conforming_app(model), change)


@mutant("errors/empty-body")
def empty_body_accepted(model: Bundle) -> ASGIApp:
    """Treat an empty body as a request with defaults."""
    default = json.dumps({"model": NAME, "prompt": "", "max_tokens": 1}).encode()
    return mutate_raw_body(conforming_app(model), lambda body: body or default)


@mutant("errors/non-utf8-body")
def invalid_bytes_replaced(model: Bundle) -> ASGIApp:
    """Replace bytes that are not UTF-8."""
    return mutate_raw_body(conforming_app(model), lambda b: b.decode(errors="replace").encode())


@mutant("errors/nan-and-infinity")
def nan_as_default(model: Bundle) -> ASGIApp:
    """Treat NaN as the default."""
    return mutate_raw_body(
        conforming_app(model), lambda b: re.sub(rb": -?(NaN|Infinity)", b": 1", b)
    )


@mutant("errors/all-errors-reported")
def first_error_only(model: Bundle) -> ASGIApp:
    """Stop validation at the first error."""
    return change_errors(model, lambda detail: detail[:1])


@mutant("errors/errors-in-field-order")
def sorted_by_name(model: Bundle) -> ASGIApp:
    """Sort errors by the name of the field."""
    return change_errors(model, lambda detail: sorted(detail, key=lambda e: str(e["loc"])))


@mutant("errors/echoed-input-truncated")
def full_input_echoed(model: Bundle) -> ASGIApp:
    """Repeat a wrong value in full in an error."""
    return change_errors(
        model, lambda detail: [e | {"input": str(e.get("input", "")) * 200} for e in detail]
    )


@mutant("errors/wrong-method-405")
def wrong_method_404(model: Bundle) -> ASGIApp:
    """Send a 404 for a wrong method."""
    return replace_status(model, 405, 404)


@mutant("errors/unknown-path-404")
def unknown_path_served(model: Bundle) -> ASGIApp:
    """Serve any path."""
    return replace_status(model, 404, 200, "Not Found")


@mutant("errors/json-content-type")
def plain_text_errors(model: Bundle) -> ASGIApp:
    """Send errors with the content type of plain text."""

    def rename(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        kind = {"content-type": "text/plain"} if status >= 400 else {}
        return status, headers | kind, text

    return mutate_response(conforming_app(model), rename)


@mutant("errors/body-too-large-413")
def body_too_large_400(model: Bundle) -> ASGIApp:
    """Send a 400 for a body over the limit."""
    return replace_status(model, 413, 400)


@mutant("errors/fuzz-no-5xx")
def surrogate_500(model: Bundle) -> ASGIApp:
    """Send a 500 for a lone surrogate, which fails when the server encodes it."""
    return replace_status(model, 422, 500, '"string_unicode"')
