"""Authentication by API key."""

from typing import Any

from conformance.assertions.basic import assert_same_choices, assert_status, assert_that
from conformance.harness.capabilities import API_KEY, AUTH_ENFORCED
from conformance.harness.registry import CheckGroup
from conformance.http.client import Server, assert_success
from conformance.http.response import Completion
from conformance.verdicts import Evidence, Level

checks = CheckGroup("auth", spec="RFC 6750")

JSON = {"content-type": "application/json"}


def bearer(key: str, scheme: str = "Bearer") -> dict[str, str]:
    """Return the headers of a request with a key."""
    return JSON | {"authorization": f"{scheme} {key}"}


def key_of(server: Server) -> str:
    """Return the server's API key, which the capability API_KEY guarantees."""
    return server.target.api_key or ""


@checks.protocol(Level.MUST, Evidence.EXACT, API_KEY)
def missing_key_401(server: Server) -> None:
    """A request without a key is a 401."""
    assert_status(server.send(server.body(), headers=JSON), 401)


@checks.protocol(Level.MUST, Evidence.EXACT, AUTH_ENFORCED)
def wrong_key_401(server: Server) -> None:
    """A wrong key is a 401: another word, an empty key, a part of the key, the key with more
    characters, or the key under another scheme than `Bearer`.
    """
    key = key_of(server)
    for wrong in filter(None, ("wrong", key[:-1], f"{key}x", f"{key},{key}")):
        assert_status(server.send(server.body(), headers=bearer(wrong)), 401)
    for headers in JSON | {"authorization": "Bearer"}, bearer(key, "Basic"):
        assert_status(server.send(server.body(), headers=headers), 401)


@checks.protocol(Level.MUST, Evidence.EXACT, AUTH_ENFORCED)
def challenge_on_401(server: Server) -> None:
    """A 401 has the header `WWW-Authenticate: Bearer`."""
    for headers in JSON, bearer("wrong"):
        reply = server.send(server.body(), headers=headers)
        assert_status(reply, 401)
        scheme = reply.headers.get("www-authenticate", "")
        assert_that(
            scheme.lower().startswith("bearer"), "WWW-Authenticate: Bearer", scheme, reply.at
        )


@checks.protocol(Level.MUST, Evidence.EXACT, AUTH_ENFORCED)
def detail_on_401(server: Server) -> None:
    """A 401 names the reason in `detail`, a string."""
    reply = server.send(server.body(), headers=JSON)
    assert_status(reply, 401)
    detail = reply.json.get("detail")
    assert_that(
        isinstance(detail, str) and detail != "", "a detail, a string", reply.json, reply.at
    )


@checks.protocol(Level.MUST, Evidence.EXACT, AUTH_ENFORCED)
def xi_api_key_alias(server: Server) -> None:
    """A key may come in the header `xi-api-key`; a wrong key there is a 401."""
    assert_success(server.send(server.body(), headers=JSON | {"xi-api-key": key_of(server)}))
    for wrong in "wrong", f"{key_of(server)}x", "":
        assert_status(server.send(server.body(), headers=JSON | {"xi-api-key": wrong}), 401)


@checks.protocol(Level.MUST, Evidence.EXACT, AUTH_ENFORCED)
def auth_before_validation(server: Server) -> None:
    """Without a valid key any request is a 401, whatever its body and its model: errors of the body
    and names of models are not revealed.
    """
    bodies: list[Any] = [
        b"",
        b"{",
        server.body(temperature=9),
        server.body(model="no-such-model"),
        [],
    ]
    for body in bodies:
        for headers in JSON, bearer("wrong"):
            assert_status(server.send(body, headers=headers), 401)


@checks.protocol(Level.SHOULD, Evidence.EXACT, AUTH_ENFORCED, spec="RFC 9110")
def scheme_case_insensitive(server: Server) -> None:
    """`bearer` and `BEARER` are the scheme `Bearer`."""
    for scheme in "bearer", "BEARER":
        assert_status(server.send(server.body(), headers=bearer(key_of(server), scheme)), 200)


@checks.protocol(Level.MUST, Evidence.METAMORPHIC)
def source_header_ignored(server: Server) -> None:
    """The header `x-deepinfra-source` is accepted and has no effect."""
    plain = server.complete()
    headers = server.headers() | {"x-deepinfra-source": "somewhere"}
    reply = server.send(server.body(), headers=headers)
    assert_status(reply, 200)
    assert_same_choices(
        plain.choices,
        Completion(reply.json, reply.at).choices,
        "the same answer with and without the header",
    )
