"""Who may ask."""

from typing import Any

from conformance.assertions.basic import require, same, status
from conformance.harness.capabilities import DOORS, KEY
from conformance.harness.registry import protocol
from conformance.http.client import Server, demand_success
from conformance.http.response import Answer
from conformance.verdicts import Evidence, Level

RESTS_ON = "RFC 6750"

JSON = {"content-type": "application/json"}


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return JSON | {"authorization": f"{scheme} {token}"}


def key_of(server: Server) -> str:
    """KEY has seen to it that there is one."""
    return server.target.api_key or ""


@protocol(Level.MUST, Evidence.EXACT, KEY)
def without_a_token_nobody_gets_in(server: Server) -> None:
    """A request without a token is a 401."""
    status(server.send(server.body(), headers=JSON), 401)


@protocol(Level.MUST, Evidence.EXACT, DOORS)
def a_wrong_token_is_none(server: Server) -> None:
    """A token that is no key is a 401, be it empty, a part of a key, or more than a key."""
    key = key_of(server)
    for token in filter(None, ("wrong", key[:-1], f"{key}x", f"{key},{key}")):
        status(server.send(server.body(), headers=bearer(token)), 401)
    for headers in JSON | {"authorization": "Bearer"}, bearer(key, "Basic"):
        status(server.send(server.body(), headers=headers), 401)


@protocol(Level.MUST, Evidence.EXACT, DOORS)
def a_401_names_the_scheme(server: Server) -> None:
    """A 401 has the header `WWW-Authenticate: Bearer`."""
    for headers in JSON, bearer("wrong"):
        reply = server.send(server.body(), headers=headers)
        status(reply, 401)
        scheme = reply.headers.get("www-authenticate", "")
        require(scheme.lower().startswith("bearer"), "WWW-Authenticate: Bearer", scheme, reply.at)


@protocol(Level.MUST, Evidence.EXACT, DOORS)
def a_401_says_why(server: Server) -> None:
    """A 401 says in `detail` what is missing."""
    reply = server.send(server.body(), headers=JSON)
    status(reply, 401)
    found = reply.json.get("detail")
    require(isinstance(found, str) and found != "", "a detail, a string", reply.json, reply.at)


@protocol(Level.MUST, Evidence.EXACT, DOORS)
def xi_api_key_is_an_alias(server: Server) -> None:
    """A key may come in `xi-api-key`; what comes there and is no key is a 401."""
    demand_success(server.send(server.body(), headers=JSON | {"xi-api-key": key_of(server)}))
    for wrong in "wrong", f"{key_of(server)}x", "":
        status(server.send(server.body(), headers=JSON | {"xi-api-key": wrong}), 401)


@protocol(Level.MUST, Evidence.EXACT, DOORS)
def a_401_comes_first(server: Server) -> None:
    """Nothing is said of a body, nor of which models there are, to somebody without a key."""
    bodies: list[Any] = [
        b"",
        b"{",
        server.body(temperature=9),
        server.body(model="no-such-model"),
        [],
    ]
    for body in bodies:
        for headers in JSON, bearer("wrong"):
            status(server.send(body, headers=headers), 401)


@protocol(Level.SHOULD, Evidence.EXACT, DOORS, rests_on="RFC 9110")
def a_scheme_has_no_case(server: Server) -> None:
    """`bearer` and `BEARER` are the scheme `Bearer`."""
    for scheme in "bearer", "BEARER":
        status(server.send(server.body(), headers=bearer(key_of(server), scheme)), 200)


@protocol(Level.MUST, Evidence.METAMORPHIC)
def the_source_is_ignored(server: Server) -> None:
    """The header `x-deepinfra-source` is accepted and changes nothing."""
    plain = server.ask()
    headers = server.headers() | {"x-deepinfra-source": "somewhere"}
    reply = server.send(server.body(), headers=headers)
    status(reply, 200)
    same(
        plain.choices,
        Answer(reply.json, reply.at).choices,
        "the same answer with and without the header",
    )
