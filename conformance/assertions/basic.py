"""What checks demand again and again. Each raises Failed, with the exchange that shows it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from conformance.http.client import Reply, Server, demand_success
from conformance.http.exchange import Exchange
from conformance.http.response import Answer, Choice, contents
from conformance.verdicts import Broken, Failed, NonStrict

NO_NUMBERS = ("a lot", [1], {"value": 1})


def require(holds: bool, expected: str, seen: Any, at: Exchange | None = None) -> None:
    if not holds:
        raise Failed(expected, seen, at=at)


def equal(seen: Any, expected: Any, what: str, at: Exchange | None = None) -> None:
    """Two values of one type: 1 is no true."""
    require(
        seen == expected and isinstance(seen, bool) == isinstance(expected, bool),
        f"{what}: {expected!r}",
        seen,
        at,
    )


def same(one: Sequence[Choice], other: Sequence[Choice], expected: str) -> None:
    """Choices that must be the same in all that they say."""
    a, b = contents(one), contents(other)
    require(a == b, expected, f"{a}\nand {b}", other[0].at if other else None)


def same_answer(one: Answer, other: Answer, expected: str) -> None:
    """Choices and usage, but for what was cached."""
    same(one.choices, other.choices, expected)
    usages = [
        {k: v for k, v in a.usage.items() if k != "prompt_tokens_details"} for a in (one, other)
    ]
    equal(usages[1], usages[0], f"{expected}; usage", other.at)


def status(reply: Reply, expected: int) -> None:
    """Raises Broken for a 5xx that was not expected, and NonStrict for another refusal than the one
    that was.
    """
    if reply.status >= 500 > expected:
        raise Broken(f"answered {reply.status}: {reply.at.response[:300]}", at=reply.at)
    if 400 <= reply.status < 500 and 400 <= expected and reply.status != expected:
        note = f"refused, but by {reply.status}"
        raise NonStrict(f"status: {expected}", str(reply.status), note=note, at=reply.at)
    equal(reply.status, expected, "status", reply.at)


def refused(server: Server, name: str, values: Iterable[Any]) -> None:
    """Each value of a field is a 422 that names the field."""
    each(partial(refused_one, server, name, value) for value in values)


def refused_one(server: Server, name: str, value: Any) -> None:
    names_field(server.post(**{name: value}), name)


def each(demands: Iterable[Callable[[], None]]) -> None:
    """All of several demands. What is only done otherwise does not hide what is wrong after it."""
    otherwise: NonStrict | None = None
    for demand in demands:
        try:
            demand()
        except NonStrict as outcome:
            otherwise = otherwise or outcome
    if otherwise is not None:
        raise otherwise


def names_field(reply: Reply, name: str) -> None:
    """A 422 with an error whose `loc` leads to a field of the body."""
    if reply.status < 400:
        raise Failed(f"422 for {name}", str(reply.status), at=reply.at)
    status(reply, 422)
    found = [tuple(error.get("loc") or ())[:2] for error in details(reply)]
    require(("body", name) in found, f"an error at body.{name}", found, reply.at)


def details(reply: Reply) -> list[dict[str, Any]]:
    """The errors of a 422: each has a type, a message, and where it is. Raises NonStrict for an
    error of another shape.
    """
    found = reply.json.get("detail")
    if not (isinstance(found, list) and found and all(isinstance(e, dict) for e in found)):
        note = "refused, but the error has another shape"
        raise NonStrict("detail: a list of errors", repr(found), note=note, at=reply.at)
    for error in found:
        complete = isinstance(error.get("msg"), str) and isinstance(error.get("type"), str)
        where = isinstance(error.get("loc"), list)
        require(complete and where, "errors with type, loc and msg", error, reply.at)
    return found


def accepted(server: Server, name: str, values: Iterable[Any]) -> None:
    """Each value of a field is a 200. Raises Unsupported if none is: then the field is refused."""
    replies = [server.post(**{name: value}) for value in values]
    if all(400 <= reply.status < 500 for reply in replies):
        demand_success(replies[0])
    for reply in replies:
        status(reply, 200)


def error_of(reply: Reply, expected: int, code: str | None = None) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}` with a status and a code."""
    status(reply, expected)
    found = reply.json.get("error")
    well = isinstance(found, dict) and all(k in found for k in ("message", "type", "param", "code"))
    require(well, "error: {message, type, param, code}", reply.json, reply.at)
    assert isinstance(found, dict)
    if code is not None:
        equal(found["code"], code, "error.code", reply.at)
    return found
