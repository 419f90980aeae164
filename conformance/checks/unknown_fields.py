"""Fields of a request that are not in the contract."""

from typing import Any
from urllib.parse import quote

from conformance.assertions.basic import (
    assert_equal,
    assert_same_completion,
    assert_status,
    assert_that,
    error_details,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import Reply, Server
from conformance.verdicts import Evidence, Level, Unsupported

checks = CheckGroup("unknown_fields", spec="params.CompletionParams")

HEADER = "x-ignored-parameters"
MAX_HEADER = 4096  # characters: clients limit the total size of all headers
# Fields that langchain and load generators send, with the value that requests no change.
COMMON_FIELDS: dict[str, Any] = {"best_of": 1, "ignore_eos": False}


def fresh_name(server: Server) -> str:
    """Return a field name that no server knows."""
    return f"no_such_field_{server.rng.getrandbits(40):x}"


def ignored_fields(reply: Reply, name: str) -> list[str]:
    """Return the names in the header, or none if a 422 names the field. Raises Failed if neither
    names it.
    """
    if reply.status == 422:
        named = [error["loc"][1:] for error in error_details(reply)]
        assert_that([name] in named, f"an error at body.{name}", named, reply.at)
        return []
    assert_status(reply, 200)
    header = reply.headers.get(HEADER, "")
    names = [part.strip() for part in header.split(",")]
    expected = f"{HEADER} with {quote(name, safe='')}, or a 422"
    assert_that(quote(name, safe="") in names, expected, repr(header), reply.at)
    return names


@checks.protocol(Level.MUST, Evidence.EXACT)
def named_or_refused(server: Server) -> None:
    """An unknown field is named in `x-ignored-parameters`, which names no known field, or it is a
    422 that names the field. It is never dropped silently.
    """
    name = fresh_name(server)
    for value in 1, None, {"deep": [1]}:
        reply = server.post(**{name: value})
        known = set(ignored_fields(reply, name)) & server.body().keys()
        assert_that(not known, "no field that is known", sorted(known), reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def no_header_without_unknown(server: Server) -> None:
    """The answer to a request with only known fields has no header `x-ignored-parameters`."""
    reply = server.post()
    assert_status(reply, 200)
    assert_equal(reply.headers.get(HEADER), None, HEADER, reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def percent_encoded_names(server: Server) -> None:
    """In the header all characters of a name but letters, digits and `-._~` are percent-encoded,
    because the client chooses the name.
    """
    for suffix in "größe", "a, b", "x\r\nset-cookie: a", "50%":
        name = f"{fresh_name(server)} {suffix}"
        reply = server.post(**{name: 1})
        require_header(reply)
        ignored_fields(reply, name)


def require_header(reply: Reply) -> None:
    """Raise Unsupported if a server names no field, which named-or-refused reports."""
    if reply.status == 200 and HEADER not in reply.headers:
        raise Unsupported(f"no {HEADER}", at=reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def header_length_limit(server: Server) -> None:
    """The header stays short even for a thousand unknown fields."""
    many = {f"{fresh_name(server)}_{i}": i for i in range(1000)}
    reply = server.post(**many)
    assert_that(reply.status in (200, 422), "200 or 422", reply.status, reply.at)
    require_header(reply)
    size = len(reply.headers.get(HEADER, ""))
    assert_that(
        size <= MAX_HEADER, f"at most {MAX_HEADER} characters", f"{size} characters", reply.at
    )


@checks.consistency(Level.MUST, Evidence.METAMORPHIC)
def no_effect(server: Server) -> None:
    """The answer with an unknown field is the same as without it."""
    plain = server.complete()
    for name in fresh_name(server), "Temperature", "max_token":
        answer = server.complete(**{name: 2})
        assert_same_completion(plain, answer, f"the same answer with and without {name}")


@checks.protocol(Level.SHOULD, Evidence.EXACT)
def common_client_fields(server: Server) -> None:
    """Fields that widely used clients send are accepted: `best_of`, `ignore_eos`."""
    for name, value in COMMON_FIELDS.items():
        reply = server.post(**{name: value})
        if reply.status == 422:
            ignored_fields(reply, name)
            raise Unsupported("unknown fields are refused", at=reply.at)
        assert_status(reply, 200)
