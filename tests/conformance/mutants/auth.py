"""Authentication, broken."""

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Said, hearing, replying, whole

KEY = "one-key"
RIGHT = {"authorization": f"Bearer {KEY}"}


def closed(model: Bundle) -> ASGIApp:
    return whole(model, keys=[KEY])


@mutant("auth/without-a-token-nobody-gets-in", keys=(KEY,))
def only_wrong_tokens(model: Bundle) -> ASGIApp:
    """Whoever brings no token is let in."""
    return hearing(closed(model), lambda h: h if "authorization" in h else h | RIGHT)


@mutant("auth/a-wrong-token-is-none", keys=(KEY,))
def a_beginning(model: Bundle) -> ASGIApp:
    """The beginning of a key opens what the key opens."""

    def whole_key(headers: dict[str, str]) -> dict[str, str]:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        begins = scheme == "Bearer" and token and KEY.startswith(token)
        return headers | (RIGHT if begins else {})

    return hearing(closed(model), whole_key)


@mutant("auth/a-401-names-the-scheme", keys=(KEY,))
def no_challenge(model: Bundle) -> ASGIApp:
    """A 401 has no WWW-Authenticate."""

    def drop(scope: Scope, said: Said) -> Said:
        status, headers, text = said
        return status, {k: v for k, v in headers.items() if k != "www-authenticate"}, text

    return replying(closed(model), drop)


@mutant("auth/a-401-says-why", keys=(KEY,))
def another_shape(model: Bundle) -> ASGIApp:
    """A 401 has `error`, not `detail`."""

    def reshape(scope: Scope, said: Said) -> Said:
        status, headers, text = said
        return status, headers, text.replace('"detail"', '"error"')

    return replying(closed(model), reshape)


@mutant("auth/xi-api-key-is-an-alias", keys=(KEY,))
def any_alias(model: Bundle) -> ASGIApp:
    """Whatever is in xi-api-key opens everything."""
    return hearing(closed(model), lambda h: h | (RIGHT if "xi-api-key" in h else {}))


@mutant("auth/a-401-comes-first", keys=(KEY,))
def after_validation(model: Bundle) -> ASGIApp:
    """The token is looked at after the body."""

    def late(scope: Scope, said: Said) -> Said:
        status, headers, text = said
        known = (b"authorization", RIGHT["authorization"].encode()) in scope["headers"]
        if known or status != 200:
            return said
        return 401, headers, '{"detail": "Not authenticated"}'

    return replying(whole(model), late)


@mutant("auth/a-scheme-has-no-case", keys=(KEY,))
def case_matters(model: Bundle) -> ASGIApp:
    """The scheme is `Bearer` to the letter."""

    def drop(headers: dict[str, str]) -> dict[str, str]:
        exact = headers.get("authorization", "").startswith("Bearer ")
        return headers if exact else {k: v for k, v in headers.items() if k != "authorization"}

    return hearing(closed(model), drop)


@mutant("auth/the-source-is-ignored")
def a_source_is_refused(model: Bundle) -> ASGIApp:
    """A header that is not known is refused."""

    def refuse(scope: Scope, said: Said) -> Said:
        known = all(name != b"x-deepinfra-source" for name, _ in scope["headers"])
        return said if known else (400, said[1], '{"detail": "x-deepinfra-source"}')

    return replying(whole(model), refuse)
