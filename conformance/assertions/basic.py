"""Assertions on values, statuses, errors and equal completions."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from conformance.http.client import Reply, Server, assert_success
from conformance.http.exchange import Exchange
from conformance.http.response import Choice, Completion, Stream, comparable
from conformance.verdicts import Failed, NonStrict, ServerError


def assert_that(condition: bool, expected: str, seen: Any, at: Exchange | None = None) -> None:
    """Raise Failed if a condition does not hold."""
    if not condition:
        raise Failed(expected, seen, at=at)


def assert_equal(seen: Any, expected: Any, name: str, at: Exchange | None = None) -> None:
    """Raise Failed unless two values are equal; true is not equal to 1."""
    assert_that(
        seen == expected and isinstance(seen, bool) == isinstance(expected, bool),
        f"{name}: {expected!r}",
        seen,
        at,
    )


def assert_same_choices(first: Sequence[Choice], second: Sequence[Choice], expected: str) -> None:
    """Raise Failed unless choices have equal texts, logprobs and reasons."""
    a, b = comparable(first), comparable(second)
    if a != b:
        outcome = Failed(expected, f"{a}\nand {b}", at=second[0].at if second else None)
        outcome.compares_texts = [c.text for c in first] != [c.text for c in second]
        raise outcome


def assert_same_completion(first: Completion, second: Completion, expected: str) -> None:
    """Raise Failed unless choices and usage are equal, apart from the number of cached tokens."""
    assert_same_choices(first.choices, second.choices, expected)
    usages = [
        {k: v for k, v in completion.usage.items() if k != "prompt_tokens_details"}
        for completion in (first, second)
    ]
    assert_equal(usages[1], usages[0], f"{expected}; usage", second.at)


def assert_status(reply: Reply, expected: int) -> None:
    """Raise ServerError for an unexpected 5xx, NonStrict for a refusal with another 4xx."""
    if reply.status >= 500 > expected:
        raise ServerError(f"answered {reply.status}: {reply.at.response[:300]}", at=reply.at)
    if 400 <= reply.status < 500 and 400 <= expected and reply.status != expected:
        note = f"refused, but with status {reply.status}"
        raise NonStrict(f"status: {expected}", str(reply.status), note=note, at=reply.at)
    assert_equal(reply.status, expected, "status", reply.at)


def assert_rejected(server: Server, name: str, values: Iterable[Any]) -> None:
    """Require a 422 that names the field, for each value of a field."""
    assert_all(partial(assert_value_rejected, server, name, value) for value in values)


def assert_value_rejected(server: Server, name: str, value: Any) -> None:
    """Require a 422 that names the field, for one value of a field."""
    assert_error_names_field(server.post(**{name: value}), name)


def assert_all(assertions: Iterable[Callable[[], None]]) -> None:
    """Run several assertions; a NonStrict outcome must not hide a failure of a later one."""
    non_strict: NonStrict | None = None
    for assertion in assertions:
        try:
            assertion()
        except NonStrict as outcome:
            non_strict = non_strict or outcome
    if non_strict is not None:
        raise non_strict


def assert_error_names_field(reply: Reply, name: str) -> None:
    """Require a 422 with an error whose `loc` is a field of the body."""
    if reply.status < 400:
        raise Failed(f"422 for {name}", str(reply.status), at=reply.at)
    assert_status(reply, 422)
    locations = [tuple(error.get("loc") or ())[:2] for error in error_details(reply)]
    assert_that(("body", name) in locations, f"an error at body.{name}", locations, reply.at)


def error_details(reply: Reply) -> list[dict[str, Any]]:
    """Return the errors of a 422, each with type, msg and loc. Raises NonStrict if they differ."""
    errors = reply.json.get("detail")
    if not (isinstance(errors, list) and errors and all(isinstance(e, dict) for e in errors)):
        note = "refused, but the error has another shape"
        raise NonStrict("detail: a list of errors", repr(errors), note=note, at=reply.at)
    for error in errors:
        complete = isinstance(error.get("msg"), str) and isinstance(error.get("type"), str)
        located = isinstance(error.get("loc"), list)
        assert_that(complete and located, "errors with type, loc and msg", error, reply.at)
    return errors


def assert_accepted(server: Server, name: str, values: Iterable[Any]) -> None:
    """Require a completion for each value of a field. Raises Unsupported if all are refused."""
    replies = [server.post(**{name: value}) for value in values]
    if all(400 <= reply.status < 500 for reply in replies):
        assert_success(replies[0])
    for reply in replies:
        assert_completion(reply)


def assert_completion(reply: Reply) -> None:
    """Require a 200 with at least one choice, each with a text."""
    assert_status(reply, 200)
    media_type = reply.headers.get("content-type", "")
    is_stream = media_type.startswith("text/event-stream")
    stream = Stream(reply.text, reply.at)
    completion = stream.completion if is_stream else Completion(reply.json, reply.at)
    texts = [choice.text for choice in completion.choices]
    assert_that(bool(texts), "a completion with choices", reply.text[:300], reply.at)


def assert_error(reply: Reply, expected: int, code: str | None = None) -> dict[str, Any]:
    """Return the error of a reply: `{message, type, param, code}`, with a given status and code."""
    assert_status(reply, expected)
    error = reply.json.get("error")
    keys = ("message", "type", "param", "code")
    complete = isinstance(error, dict) and all(key in error for key in keys)
    assert_that(complete, "error: {message, type, param, code}", reply.json, reply.at)
    assert isinstance(error, dict)
    if code is not None:
        assert_equal(error["code"], code, "error.code", reply.at)
    return error
