"""The fields of a non-streamed response."""

import json
from typing import Any, NoReturn

from conformance.assertions.basic import assert_equal, assert_that
from conformance.harness.capabilities import LOGPROBS, has
from conformance.harness.registry import CheckGroup
from conformance.http.client import Reply, Server, assert_success
from conformance.http.response import Completion, comparable
from conformance.verdicts import Evidence, Failed, Level

checks = CheckGroup("response", spec="OpenAI API reference: Completions")

EPOCH_SECONDS = range(10**9, 10**11)  # milliseconds are above it
PREFIXES = ("/v1/openai", "/v1")


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@checks.protocol(Level.MUST, Evidence.EXACT)
def top_level_fields(server: Server) -> None:
    """A response has an id that begins with `cmpl-`, the object `text_completion`, its creation
    time in seconds since 1970, and the name of the model.
    """
    answer = server.complete()
    values = {name: answer.json.get(name) for name in ("id", "object", "created", "model")}
    valid = (
        str(values["id"]).startswith("cmpl-")
        and values["object"] == "text_completion"
        and is_integer(values["created"])
        and values["created"] in EPOCH_SECONDS
        and isinstance(values["model"], str)
    )
    expected = "id cmpl-…, object text_completion, created in seconds, model"
    assert_that(valid, expected, values, answer.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def system_fingerprint(server: Server) -> None:
    """`system_fingerprint` is a string that is the same in all responses of one configuration."""
    first, second = (server.complete().json.get("system_fingerprint") for _ in range(2))
    assert_that(isinstance(first, str) and first != "", "a string", first, server.last)
    assert_equal(second, first, "system_fingerprint", server.last)


@checks.protocol(Level.MUST, Evidence.EXACT)
def choice_fields(server: Server) -> None:
    """`choices` is a list of objects with an index, a text, `logprobs`, and the finish_reason
    `stop` or `length`.
    """
    answer = server.complete()
    choice = answer.choice.json
    names = ("index", "text", "logprobs", "finish_reason")
    assert_that(
        all(n in choice for n in names), f"a choice with {', '.join(names)}", choice, answer.at
    )
    assert_equal(choice["index"], 0, "index", answer.at)
    assert_that(isinstance(choice["text"], str), "a text", choice, answer.at)
    assert_that(choice["finish_reason"] in ("stop", "length"), "stop or length", choice, answer.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def stop_reason_field(server: Server) -> None:
    """A choice has a `stop_reason`, which is null if no stop string or token ended it."""
    answer = server.complete()
    choice = answer.choice.json
    assert_that("stop_reason" in choice, "a choice with stop_reason", choice, answer.at)
    assert_equal(choice["stop_reason"], None, "stop_reason", answer.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def logprobs_null_by_default(server: Server) -> None:
    """`logprobs` of a choice is null if the request omits it or sends null."""
    for fields in {}, {"logprobs": None}:
        answer = server.complete(**fields)
        assert_equal(answer.choice.json.get("logprobs"), None, "logprobs", answer.at)


@checks.protocol(Level.MUST, Evidence.EXACT)
def unique_ids(server: Server) -> None:
    """Every response has its own id, even if the requests are equal."""
    ids = [server.complete(seed=1).json.get("id") for _ in range(3)]
    assert_that(len(set(ids)) == 3, "three ids", ids, server.last)


@checks.protocol(Level.MUST, Evidence.EXACT)
def json_content_type(server: Server) -> None:
    """The content type of a response is application/json."""
    reply = server.post()
    assert_success(reply)
    content_type = reply.headers.get("content-type", "")
    is_json = content_type.partition(";")[0].strip() == "application/json"
    assert_that(is_json, "application/json", content_type)


@checks.protocol(Level.MUST, Evidence.EXACT, spec="RFC 8259")
def finite_numbers(server: Server) -> None:
    """Every number is finite: JSON has neither `NaN` nor `Infinity`, and −∞ is written −9999.0."""
    requests: list[dict[str, Any]] = [{}, {"temperature": 2, "top_k": 1, "top_p": 0.5}]
    if has(server, LOGPROBS):
        requests += [fields | {"logprobs": 5} for fields in requests]
        requests += [{"logprobs": 5, "echo": True}]
    for fields in requests:
        reply = server.post(**fields)
        if reply.status == 200:
            assert_finite_numbers(reply)


def assert_finite_numbers(reply: Reply) -> None:
    """Raise Failed for a literal that JSON does not have, and for 1e999."""

    def parse_float(text: str) -> float:
        if abs(value := float(text)) == float("inf"):
            refuse(text)
        return value

    def refuse(text: str) -> NoReturn:
        raise Failed("finite numbers", text, at=reply.at)

    try:
        json.loads(reply.text, parse_constant=refuse, parse_float=parse_float)
    except ValueError:
        raise Failed("JSON", reply.text[:200], at=reply.at) from None


@checks.protocol(Level.SHOULD, Evidence.METAMORPHIC)
def both_paths_equal(server: Server) -> None:
    """`/v1/completions` and `/v1/openai/completions` are one endpoint."""
    bodies = [server.body(), server.body(max_tokens=3, prompt="The")]
    for body in bodies:
        answers = []
        for prefix in PREFIXES:
            reply = server.send(body, url=f"{server.target.root}{prefix}/completions")
            assert_success(reply)
            answers.append(comparable(Completion(reply.json, reply.at).choices))
        assert_equal(answers[1], answers[0], "the answer at the other path", server.last)
