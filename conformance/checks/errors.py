"""What is wrong with a request, and how a server says so."""

import json
from functools import partial
from typing import Any

from conformance.assertions.basic import (
    details,
    each,
    equal,
    error_of,
    refused_one,
    require,
    status,
)
from conformance.harness.registry import protocol
from conformance.http.client import Reply, Server
from conformance.verdicts import (
    Broken,
    Evidence,
    Failed,
    Inconclusive,
    Level,
    Unsupported,
)

RESTS_ON = "RFC 9110"

WRONG: dict[str, Any] = {
    "model": ["a"],
    "prompt": {"text": "a"},
    "max_tokens": "many",
    "temperature": "warm",
    "top_p": [0.5],
    "n": "several",
    "stream": "maybe",
    "logprobs": "all",
    "echo": [],
    "stop": 3,
    "presence_penalty": {},
    "frequency_penalty": "none",
    "seed": "first",
    "user": 3,
}
OUT_OF_RANGE = {"max_tokens": 0, "temperature": 3, "top_p": 2, "n": 0, "presence_penalty": 9}
NUMBERS = ("max_tokens", "temperature", "top_p", "top_k", "n", "logprobs", "seed")
LONG = "long " * 20_000
MOST = 20_000  # characters of an error
LARGE = 17 * 2**20  # bytes, of which the contract's own servers allow 16 MiB


def invalid(server: Server, body: Any) -> None:
    """It is a 422 with a list of errors."""
    reply = server.send(body)
    status(reply, 422)
    details(reply)


def malformed(server: Server, *bodies: bytes) -> None:
    each(partial(invalid, server, body) for body in bodies)


@protocol(Level.MUST, Evidence.EXACT, rests_on="RFC 8259")
def malformed_json_is_refused(server: Server) -> None:
    """A body that is no JSON is a 422 with a list of errors."""
    whole = json.dumps(server.body()).encode()
    malformed(server, whole[:-1], whole[:-1] + b",}", whole.replace(b'"', b"'"), whole + whole)


@protocol(Level.MUST, Evidence.EXACT)
def a_body_is_an_object(server: Server) -> None:
    """A body that is JSON and no object is a 422 with a list of errors."""
    each(partial(invalid, server, body) for body in ([server.body()], "Once", 3, None))


@protocol(Level.MUST, Evidence.EXACT)
def an_empty_body_is_refused(server: Server) -> None:
    """No body at all is a 422 with a list of errors."""
    malformed(server, b"")


@protocol(Level.MUST, Evidence.EXACT, rests_on="RFC 8259")
def a_body_is_utf8(server: Server) -> None:
    """A body in another encoding than UTF-8 is a 422, like other malformed JSON."""
    text = json.dumps(server.body(prompt="Caf\xe9"), ensure_ascii=False)
    malformed(server, text.encode("latin-1"), text.encode("utf-16"), text.encode("utf-16-le"))


@protocol(Level.MUST, Evidence.EXACT, rests_on="RFC 8259")
def nan_is_no_number(server: Server) -> None:
    """`NaN`, `Infinity` and `-Infinity`, which some libraries write as JSON, are a 422."""
    each(
        partial(invalid, server, server.body(**{name: float(value)}))
        for name in ("temperature", "presence_penalty")
        for value in ("nan", "inf", "-inf")
    )


@protocol(Level.MUST, Evidence.EXACT)
def wrong_types_are_refused(server: Server) -> None:
    """A value of a type that a field does not have is a 422 that names the field."""
    each(partial(refused_one, server, name, value) for name, value in WRONG.items())


@protocol(Level.SHOULD, Evidence.EXACT)
def a_boolean_is_no_number(server: Server) -> None:
    """`true`, which is 1 to some languages, is no number: a 422 that names the field."""
    each(partial(refused_one, server, name, True) for name in NUMBERS)


@protocol(Level.MUST, Evidence.EXACT)
def every_error_is_told(server: Server) -> None:
    """If several fields are wrong, all of them are named at once."""
    reply = server.post(**OUT_OF_RANGE)
    status(reply, 422)
    found = named(reply)
    require(set(found) == OUT_OF_RANGE.keys(), f"errors at {list(OUT_OF_RANGE)}", found, reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def errors_come_in_the_order_of_the_fields(server: Server) -> None:
    """The order of errors is that of the contract's fields, not that of the body."""
    for names in reversed(OUT_OF_RANGE), OUT_OF_RANGE:
        reply = server.send(server.body(**{name: OUT_OF_RANGE[name] for name in names}))
        status(reply, 422)
        found = named(reply)
        if len(set(found)) < 2:
            raise Unsupported("one error at a time has no order", at=reply.at)
        order = sorted(found, key=list(OUT_OF_RANGE).index)
        require(found == order, f"errors at {order}", found, reply.at)


def named(reply: Reply) -> list[str]:
    """The fields among those out of range that a 422 names."""
    found = [str(error["loc"][1]) for error in details(reply) if len(error["loc"]) > 1]
    return [name for name in found if name in OUT_OF_RANGE]


@protocol(Level.MUST, Evidence.EXACT)
def what_is_echoed_is_bounded(server: Server) -> None:
    """An error does not send back all that was sent: 100 kB of wrong value are a short error."""
    for fields in {"temperature": LONG}, {"max_tokens": [1] * 40_000}, {"model": LONG}:
        reply = server.post(**fields)
        require(400 <= reply.status < 500, "an error", reply.status, reply.at)
        size = len(reply.text)
        require(size < MOST, f"fewer than {MOST} characters", f"{size} characters", reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def another_method_is_405(server: Server) -> None:
    """GET on completions is a 405 that says so in `detail`."""
    reply = server.send(method="GET")
    status(reply, 405)
    require("detail" in reply.json, "a detail", reply.json, reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def another_path_is_404(server: Server) -> None:
    """A path where nothing is served is a 404 that says so in `detail`."""
    reply = server.send(server.body(), url=f"{server.target.base}/no/such/path")
    status(reply, 404)
    require("detail" in reply.json, "a detail", reply.json, reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def errors_are_called_json(server: Server) -> None:
    """The content type of an error is application/json."""
    for reply in server.post(temperature=5), server.post(model="no-such-model"):
        kind = reply.headers.get("content-type", "")
        require(kind.startswith("application/json"), "application/json", kind, reply.at)


@protocol(Level.MUST, Evidence.EXACT)
def too_much_is_413(server: Server) -> None:
    """A body over the size limit is a 413 that says so in `error`."""
    body = json.dumps(server.body(max_tokens=1)).encode() + b" " * LARGE
    try:
        reply = server.send(body)
    except Broken as broken:  # the connection was closed on what was still to come
        raise Inconclusive(f"{LARGE} bytes were not read to their end: {broken.note}") from None
    if reply.status == 200:
        raise Inconclusive(f"the limit is above {LARGE} bytes")
    error_of(reply, 413)


NASTY = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"model": "a", "seed": ' + b"9" * 5000 + b"}",
    b"\x00",
    b'"\\ud800"',
)
HARD: tuple[dict[str, Any], ...] = (
    {"prompt": "\ud800"},
    {"model": "\ud800"},
    {"stop": ["\ud800"], "user": "\udfff"},
    {"prompt": "a\x00b", "stop": "\x00"},
    {"seed": 10**400},
    {"max_tokens": -(10**30)},
    {"temperature": 10**400},
    {"stop_token_ids": [2**63, -(2**70)]},
    {"logprobs": 10**10},
    {"stream_options": {"include_usage": {}}, "stream": True},
    {"response_format": {"type": ["text"]}},
    {"data": {"image": [{}]}},
    {"": "", "__class__": {}, "\ud800": 1},
)


@protocol(Level.MUST, Evidence.EXACT)
def nothing_sent_breaks_it(server: Server) -> None:
    """Whatever a body is, the answer is no 5xx."""
    bodies: list[Any] = [*NASTY, *(server.body(**fields) for fields in HARD)]
    bodies += [server.body(**{name: None}) for name in WRONG]
    for body in bodies:
        reply = server.send(body)
        if reply.status >= 500:
            raise Failed("no 5xx", reply.status, at=reply.at)
    equal(server.post(max_tokens=1).status, 200, "status of a plain request after them")
