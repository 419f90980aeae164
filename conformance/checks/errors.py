"""Invalid requests, and the errors that a server answers with."""

import json
from dataclasses import fields
from functools import partial
from typing import Any

from conformance.assertions.basic import (
    assert_all,
    assert_equal,
    assert_error,
    assert_status,
    assert_that,
    assert_value_rejected,
    error_details,
)
from conformance.harness.registry import CheckGroup
from conformance.http.client import Reply, Server
from conformance.verdicts import Evidence, Failed, Inconclusive, Level, ServerError, Unsupported
from reference.params import CompletionParams

checks = CheckGroup("errors", spec="RFC 9110")

OUT_OF_RANGE = {"max_tokens": 0, "temperature": 3, "top_p": 2, "n": 0, "presence_penalty": 9}
NUMBERS = ("max_tokens", "temperature", "top_p", "top_k", "n", "logprobs", "seed")
LONG = "long " * 20_000
MAX_ERROR = 20_000  # characters
LARGE_BODY = 17 * 2**20  # bytes; this project's server allows 16 MiB


def assert_invalid(server: Server, body: Any) -> None:
    """Raise Failed unless a body is a 422 with a list of errors."""
    reply = server.send(body)
    assert_status(reply, 422)
    error_details(reply)


def assert_all_invalid(server: Server, *bodies: bytes) -> None:
    """Raise Failed unless each body is a 422 with a list of errors."""
    assert_all(partial(assert_invalid, server, body) for body in bodies)


@checks.protocol(Level.MUST, Evidence.EXACT, spec="RFC 8259")
def malformed_json(server: Server) -> None:
    """A body that is not JSON is a 422 with a list of errors."""
    valid = json.dumps(server.body()).encode()
    assert_all_invalid(
        server, valid[:-1], valid[:-1] + b",}", valid.replace(b'"', b"'"), valid + valid
    )


@checks.protocol(Level.MUST, Evidence.EXACT)
def non_object_body(server: Server) -> None:
    """A body that is JSON but not an object is a 422 with a list of errors."""
    assert_all(partial(assert_invalid, server, body) for body in ([server.body()], "Once", 3, None))


@checks.protocol(Level.MUST, Evidence.EXACT)
def empty_body(server: Server) -> None:
    """An empty body is a 422 with a list of errors."""
    assert_all_invalid(server, b"")


@checks.protocol(Level.MUST, Evidence.EXACT, spec="RFC 8259")
def non_utf8_body(server: Server) -> None:
    """A body in another encoding than UTF-8 is a 422, like other malformed JSON."""
    text = json.dumps(server.body(prompt="Caf\xe9"), ensure_ascii=False)
    encodings = "latin-1", "utf-16", "utf-16-le"
    assert_all_invalid(server, *(text.encode(encoding) for encoding in encodings))


@checks.protocol(Level.MUST, Evidence.EXACT, spec="RFC 8259")
def nan_and_infinity(server: Server) -> None:
    """`NaN`, `Infinity` and `-Infinity`, which some libraries write as JSON, are a 422."""
    assert_all(
        partial(assert_invalid, server, server.body(**{name: float(value)}))
        for name in ("temperature", "presence_penalty")
        for value in ("nan", "inf", "-inf")
    )


@checks.protocol(Level.SHOULD, Evidence.EXACT)
def boolean_as_number(server: Server) -> None:
    """`true`, which is 1 in some languages, is not a number: a 422 that names the field."""
    assert_all(partial(assert_value_rejected, server, name, True) for name in NUMBERS)


@checks.protocol(Level.MUST, Evidence.EXACT)
def all_errors_reported(server: Server) -> None:
    """If several fields are wrong, all of them are named at once."""
    reply = server.post(**OUT_OF_RANGE)
    assert_status(reply, 422)
    names = fields_named(reply)
    assert_that(
        set(names) == OUT_OF_RANGE.keys(), f"errors at {list(OUT_OF_RANGE)}", names, reply.at
    )


@checks.protocol(Level.MUST, Evidence.EXACT)
def errors_in_field_order(server: Server) -> None:
    """The order of errors is that of the contract's fields, not that of the body."""
    for names in reversed(OUT_OF_RANGE), OUT_OF_RANGE:
        reply = server.send(server.body(**{name: OUT_OF_RANGE[name] for name in names}))
        assert_status(reply, 422)
        seen = fields_named(reply)
        if len(set(seen)) < 2:
            raise Unsupported("one error at a time has no order", at=reply.at)
        order = sorted(seen, key=list(OUT_OF_RANGE).index)
        assert_that(seen == order, f"errors at {order}", seen, reply.at)


def fields_named(reply: Reply) -> list[str]:
    """Return the fields of `OUT_OF_RANGE` that a 422 names."""
    names = [str(error["loc"][1]) for error in error_details(reply) if len(error["loc"]) > 1]
    return [name for name in names if name in OUT_OF_RANGE]


@checks.protocol(Level.MUST, Evidence.EXACT)
def echoed_input_truncated(server: Server) -> None:
    """An error does not repeat all of its input: 100 kB of an invalid value make a short error."""
    for wrong in {"temperature": LONG}, {"max_tokens": [1] * 40_000}, {"model": LONG}:
        reply = server.post(**wrong)
        assert_that(400 <= reply.status < 500, "an error", reply.status, reply.at)
        size = len(reply.text)
        expected = f"fewer than {MAX_ERROR} characters"
        assert_that(size < MAX_ERROR, expected, f"{size} characters", reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def wrong_method_405(server: Server) -> None:
    """GET on completions is a 405 with a `detail`."""
    reply = server.send(method="GET")
    assert_status(reply, 405)
    assert_that("detail" in reply.json, "a detail", reply.json, reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def unknown_path_404(server: Server) -> None:
    """A path that is not served is a 404 with a `detail`."""
    reply = server.send(server.body(), url=f"{server.target.base}/no/such/path")
    assert_status(reply, 404)
    assert_that("detail" in reply.json, "a detail", reply.json, reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def json_content_type(server: Server) -> None:
    """The content type of an error is application/json."""
    for reply in server.post(temperature=5), server.post(model="no-such-model"):
        kind = reply.headers.get("content-type", "")
        assert_that(kind.startswith("application/json"), "application/json", kind, reply.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def body_too_large_413(server: Server) -> None:
    """A body over the size limit is a 413 with an `error`."""
    body = json.dumps(server.body(max_tokens=1)).encode() + b" " * LARGE_BODY
    try:
        reply = server.send(body)
    except ServerError as broken:  # the server closed the connection before it read the whole body
        raise Inconclusive(f"{LARGE_BODY} bytes were not read to the end: {broken.note}") from None
    if reply.status == 200:
        raise Inconclusive(f"the limit is above {LARGE_BODY} bytes")
    assert_error(reply, 413)


FUZZ_BODIES = (
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"model": "a", "seed": ' + b"9" * 5000 + b"}",
    b"\x00",
    b'"\\ud800"',
)
FUZZ_FIELDS: tuple[dict[str, Any], ...] = (
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
FIELDS = ("model", "prompt", *(f.name for f in fields(CompletionParams)))


@checks.protocol(Level.MUST, Evidence.EXACT)
def fuzz_no_5xx(server: Server) -> None:
    """The answer to a body with unusual content is never a 5xx."""
    bodies: list[Any] = [*FUZZ_BODIES, *(server.body(**unusual) for unusual in FUZZ_FIELDS)]
    bodies += [server.body(**{name: None}) for name in FIELDS]
    for body in bodies:
        reply = server.send(body)
        if reply.status >= 500:
            raise Failed("no 5xx", reply.status, at=reply.at)
    assert_equal(server.post(max_tokens=1).status, 200, "status of a plain request after them")
