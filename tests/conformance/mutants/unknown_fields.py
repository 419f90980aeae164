"""Mutants of the checks of unknown_fields."""

from collections.abc import Callable

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import mutate_body, route_by_body
from tests.conformance.mutations.responses import RawResponse, mutate_response

HEADER = "x-ignored-parameters"


def change_header(model: Bundle, change: Callable[[str | None], str | None]) -> ASGIApp:
    """Change the header; None is its absence."""

    def changed(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        value = change(headers.pop(HEADER, None))
        return status, headers | ({} if value is None else {HEADER: value}), text

    return mutate_response(conforming_app(model), changed)


@mutant("unknown_fields/named-or-refused")
def silently_dropped(model: Bundle) -> ASGIApp:
    """Drop an unknown field silently."""
    return change_header(model, lambda value: None)


@mutant("unknown_fields/no-header-without-unknown")
def header_always_present(model: Bundle) -> ASGIApp:
    """Send the header with every response."""
    return change_header(model, lambda value: value or "none")


@mutant("unknown_fields/percent-encoded-names")
def plus_for_space(model: Bundle) -> ASGIApp:
    """Encode a space as a plus, as in a form."""
    return change_header(model, lambda value: value and value.replace("%20", "+"))


@mutant("unknown_fields/header-length-limit")
def unbounded_header(model: Bundle) -> ASGIApp:
    """List all names in the header, however many."""
    return change_header(model, lambda value: value and value * (1 if len(value) < 500 else 10))


@mutant("unknown_fields/no-effect")
def case_insensitive(model: Bundle) -> ASGIApp:
    """Accept names in any case."""
    return mutate_body(
        conforming_app(model), lambda body: {name.lower(): v for name, v in body.items()}
    )


@mutant("unknown_fields/common-client-fields")
def unnamed_400(model: Bundle) -> ASGIApp:
    """Refuse unknown fields with a 400 that names none."""
    correct = conforming_app(model)
    refusing = mutate_response(correct, lambda scope, response: (400, *response[1:]))
    return route_by_body(lambda body: refusing if b"best_of" in body else correct)
