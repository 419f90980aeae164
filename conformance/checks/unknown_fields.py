"""Fields of a request that are not in the contract."""

import json
from contextlib import suppress
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
from conformance.verdicts import Evidence, Level, NonStrict, Unsupported

checks = CheckGroup("unknown_fields", spec="params.CompletionParams")

HEADER = "x-ignored-parameters"
MAX_HEADER = 4096  # characters: clients limit the total size of all headers
# Fields that langchain and load generators send, with the value that requests no change.
COMMON_FIELDS: dict[str, Any] = {"best_of": 1, "ignore_eos": False}


def fresh_name(server: Server) -> str:
    """Return a field name that no server knows."""
    return f"no_such_field_{server.rng.getrandbits(40):x}"


def ignored_fields(reply: Reply, name: str) -> list[str]:
    """Return the names in the header, or none if a 422 names the field.

    Raises NonStrict if another 4xx names the field, Failed if neither names it.
    """
    if reply.status == 422:
        named = [error["loc"][1:] for error in error_details(reply)]
        assert_that([name] in named, f"an error at body.{name}", named, reply.at)
        return []
    if 400 <= reply.status < 500:
        expected = f"an error that names {name}"
        assert_that(name in strings_of(reply), expected, reply.text[:300], reply.at)
        note = f"refused, but with status {reply.status}"
        raise NonStrict("status: 200 or 422", str(reply.status), note=note, at=reply.at)
    assert_status(reply, 200)
    header = reply.headers.get(HEADER, "")
    names = [part.strip() for part in header.split(",")]
    expected = f"{HEADER} with {quote(name, safe='')}, or a 422"
    assert_that(quote(name, safe="") in names, expected, repr(header), reply.at)
    return names


def strings_of(reply: Reply) -> str:
    """Return the text of a reply with the escapes of its JSON removed, if it is JSON."""
    try:
        return json.dumps(json.loads(reply.text), ensure_ascii=False)
    except ValueError:
        return reply.text


def require_answer(reply: Reply, name: str) -> None:
    """Raise Unsupported if a server refuses a field by its name: see named-or-refused."""
    if 400 <= reply.status < 500:
        with suppress(NonStrict):
            ignored_fields(reply, name)
        raise Unsupported("unknown fields are refused", at=reply.at)


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
        if reply.status != 422:
            require_answer(reply, name.partition(" ")[0])
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
    if reply.status != 422:
        require_answer(reply, "no_such_field_")
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
        require_answer(reply, name)
        assert_status(reply, 200)
