"""Mutants of the checks of auth."""

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import conforming_app
from tests.conformance.mutations.requests import mutate_headers
from tests.conformance.mutations.responses import RawResponse, mutate_response

KEY = "one-key"
RIGHT = {"authorization": f"Bearer {KEY}"}


def with_key(model: Bundle) -> ASGIApp:
    """Return a server that requires the key."""
    return conforming_app(model, keys=[KEY])


@mutant("auth/missing-key-401", keys=(KEY,))
def missing_key_accepted(model: Bundle) -> ASGIApp:
    """Accept a request without a key."""
    return mutate_headers(with_key(model), lambda h: h if "authorization" in h else h | RIGHT)


@mutant("auth/wrong-key-401", keys=(KEY,))
def key_prefix_accepted(model: Bundle) -> ASGIApp:
    """Accept a prefix of a key."""

    def complete_key(headers: dict[str, str]) -> dict[str, str]:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        is_prefix = scheme == "Bearer" and token and KEY.startswith(token)
        return headers | (RIGHT if is_prefix else {})

    return mutate_headers(with_key(model), complete_key)


@mutant("auth/challenge-on-401", keys=(KEY,))
def challenge_missing(model: Bundle) -> ASGIApp:
    """Leave `WWW-Authenticate` out of a 401."""

    def drop(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        return status, {k: v for k, v in headers.items() if k != "www-authenticate"}, text

    return mutate_response(with_key(model), drop)


@mutant("auth/detail-on-401", keys=(KEY,))
def error_not_detail(model: Bundle) -> ASGIApp:
    """Send `error` instead of `detail` in a 401."""

    def reshape(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        return status, headers, text.replace('"detail"', '"error"')

    return mutate_response(with_key(model), reshape)


@mutant("auth/xi-api-key-alias", keys=(KEY,))
def any_xi_api_key_accepted(model: Bundle) -> ASGIApp:
    """Accept any value of `xi-api-key`."""
    return mutate_headers(with_key(model), lambda h: h | (RIGHT if "xi-api-key" in h else {}))


@mutant("auth/auth-before-validation", keys=(KEY,))
def auth_after_validation(model: Bundle) -> ASGIApp:
    """Check the key after the body."""

    def check_last(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        valid = (b"authorization", RIGHT["authorization"].encode()) in scope["headers"]
        if valid or status != 200:
            return response
        return 401, headers, '{"detail": "Not authenticated"}'

    return mutate_response(conforming_app(model), check_last)


@mutant("auth/scheme-case-insensitive", keys=(KEY,))
def scheme_case_sensitive(model: Bundle) -> ASGIApp:
    """Refuse any other spelling of the scheme than `Bearer`."""

    def drop(headers: dict[str, str]) -> dict[str, str]:
        exact = headers.get("authorization", "").startswith("Bearer ")
        return headers if exact else {k: v for k, v in headers.items() if k != "authorization"}

    return mutate_headers(with_key(model), drop)


@mutant("auth/source-header-ignored")
def source_header_refused(model: Bundle) -> ASGIApp:
    """Refuse an unknown header."""

    def refuse(scope: Scope, response: RawResponse) -> RawResponse:
        absent = all(name != b"x-deepinfra-source" for name, _ in scope["headers"])
        return response if absent else (400, response[1], '{"detail": "x-deepinfra-source"}')

    return mutate_response(conforming_app(model), refuse)
