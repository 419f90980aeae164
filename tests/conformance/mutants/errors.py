"""Errors, broken."""

import json
import re
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    NAME,
    Json,
    Said,
    asking,
    receiving,
    replying,
    whole,
)


def status(model: Bundle, seen: int, sent: int, where: str = "") -> ASGIApp:
    """One status for another, where the text has something."""

    def change(scope: Scope, said: Said) -> Said:
        found, headers, text = said
        return (sent if found == seen and where in text else found), headers, text

    return replying(whole(model), change)


def telling(model: Bundle, change: Callable[[list[Json]], list[Json]]) -> ASGIApp:
    """The errors of a 422, changed."""

    def changed(scope: Scope, said: Said) -> Said:
        found, headers, text = said
        if found == 422:
            text = json.dumps({"detail": change(json.loads(text)["detail"])})
        return found, headers, text

    return replying(whole(model), changed)


@mutant("errors/malformed-json-is-refused")
def first_object(model: Bundle) -> ASGIApp:
    """What follows the first object of a body is not read."""

    def first(body: bytes) -> bytes:
        try:
            value, _ = json.JSONDecoder().raw_decode(body.decode())
        except (ValueError, RecursionError):
            return body
        return json.dumps(value).encode()

    return receiving(whole(model), first)


@mutant("errors/a-body-is-an-object")
def a_list_of_one(model: Bundle) -> ASGIApp:
    """A list of one request is the request."""
    return receiving(whole(model), lambda b: b[1:-1] if b.startswith(b'[{"model') else b)


@mutant("errors/a-boolean-is-no-number")
def one(model: Bundle) -> ASGIApp:
    """Booleans are numbers, as they are to Python."""

    def change(body: Json) -> Json:
        return {k: int(v) if v is True and k != "stream" else v for k, v in body.items()}

    return asking(whole(model), change)


@mutant("errors/an-empty-body-is-refused")
def an_empty_request(model: Bundle) -> ASGIApp:
    """No body is a request for nothing in particular."""
    default = json.dumps({"model": NAME, "prompt": "", "max_tokens": 1}).encode()
    return receiving(whole(model), lambda body: body or default)


@mutant("errors/a-body-is-utf8")
def latin_1(model: Bundle) -> ASGIApp:
    """Bytes that are no UTF-8 are replaced."""
    return receiving(whole(model), lambda b: b.decode(errors="replace").encode())


@mutant("errors/nan-is-no-number")
def nan_is_one(model: Bundle) -> ASGIApp:
    """NaN is read as the default."""
    return receiving(whole(model), lambda b: re.sub(rb": -?(NaN|Infinity)", b": 1", b))


@mutant("errors/wrong-types-are-refused")
def numbers_are_strings(model: Bundle) -> ASGIApp:
    """A user may be a number."""

    def text(body: Json) -> Json:
        user: Any = body.get("user")
        return body | ({"user": str(user)} if isinstance(user, int) else {})

    return asking(whole(model), text)


@mutant("errors/every-error-is-told")
def only_the_first(model: Bundle) -> ASGIApp:
    """Validation ends at the first error."""
    return telling(model, lambda detail: detail[:1])


@mutant("errors/errors-come-in-the-order-of-the-fields")
def by_name(model: Bundle) -> ASGIApp:
    """Errors are sorted by name."""
    return telling(model, lambda detail: sorted(detail, key=lambda e: str(e["loc"])))


@mutant("errors/what-is-echoed-is-bounded")
def everything_comes_back(model: Bundle) -> ASGIApp:
    """A wrong value comes back as long as it was."""
    return telling(
        model, lambda detail: [e | {"input": str(e.get("input", "")) * 200} for e in detail]
    )


@mutant("errors/another-method-is-405")
def no_such_method(model: Bundle) -> ASGIApp:
    """Another method is a 404."""
    return status(model, 405, 404)


@mutant("errors/another-path-is-404")
def catch_all(model: Bundle) -> ASGIApp:
    """Any path is served."""
    return status(model, 404, 200, "Not Found")


@mutant("errors/errors-are-called-json")
def called_text(model: Bundle) -> ASGIApp:
    """The content type of an error is that of plain text."""

    def rename(scope: Scope, said: Said) -> Said:
        found, headers, text = said
        return found, headers | ({"content-type": "text/plain"} if found >= 400 else {}), text

    return replying(whole(model), rename)


@mutant("errors/too-much-is-413")
def too_much_is_wrong(model: Bundle) -> ASGIApp:
    """A body over the limit is a 400."""
    return status(model, 413, 400)


@mutant("errors/nothing-sent-breaks-it")
def surrogates(model: Bundle) -> ASGIApp:
    """Half a surrogate pair in a name is found when it is to be encoded."""
    return status(model, 422, 500, '"string_unicode"')
