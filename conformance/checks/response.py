"""The shape of a whole answer, which nothing else looks at so closely."""

import json
from typing import Any, NoReturn

from conformance.assertions.basic import equal, require
from conformance.harness.capabilities import LOGPROBS, has
from conformance.harness.registry import protocol
from conformance.http.client import Reply, Server, demand_success
from conformance.http.response import Answer, contents
from conformance.verdicts import Evidence, Failed, Level

RESTS_ON = "OpenAI API reference: Completions"

EPOCH = range(10**9, 10**11)  # seconds; milliseconds are beyond it
PREFIXES = ("/v1/openai", "/v1")


def integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@protocol(Level.MUST, Evidence.EXACT)
def says_what_it_is(server: Server) -> None:
    """An answer has an id that begins with `cmpl-`, the object `text_completion`, the seconds since
    1970 when it was created, and the name of its model.
    """
    answer = server.ask()
    found = {name: answer.json.get(name) for name in ("id", "object", "created", "model")}
    well = (
        str(found["id"]).startswith("cmpl-")
        and found["object"] == "text_completion"
        and integer(found["created"])
        and found["created"] in EPOCH
        and isinstance(found["model"], str)
    )
    require(well, "id cmpl-…, object text_completion, created in seconds, model", found, answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def has_a_fingerprint(server: Server) -> None:
    """`system_fingerprint` is a string, the same in answers of one configuration."""
    found = [server.ask().json.get("system_fingerprint") for _ in range(2)]
    require(isinstance(found[0], str) and found[0] != "", "a string", found[0], server.last)
    equal(found[1], found[0], "system_fingerprint", server.last)


@protocol(Level.MUST, Evidence.EXACT)
def choices_have_their_fields(server: Server) -> None:
    """`choices` is a list of objects with an index, a text, `logprobs`, and the finish_reason
    `stop` or `length`.
    """
    answer = server.ask()
    choice = answer.choice.json
    names = ("index", "text", "logprobs", "finish_reason")
    require(all(n in choice for n in names), f"a choice with {', '.join(names)}", choice, answer.at)
    equal(choice["index"], 0, "index", answer.at)
    require(isinstance(choice["text"], str), "a text", choice, answer.at)
    require(choice["finish_reason"] in ("stop", "length"), "stop or length", choice, answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def choices_have_a_stop_reason(server: Server) -> None:
    """A choice has a `stop_reason`, which is null if no stop ended it."""
    answer = server.ask()
    choice = answer.choice.json
    require("stop_reason" in choice, "a choice with stop_reason", choice, answer.at)
    equal(choice["stop_reason"], None, "stop_reason", answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def logprobs_are_null_unless_asked_for(server: Server) -> None:
    """`logprobs` of a choice is null if the request does not ask for any."""
    for fields in {}, {"logprobs": None}:
        answer = server.ask(**fields)
        equal(answer.choice.json.get("logprobs"), None, "logprobs", answer.at)


@protocol(Level.MUST, Evidence.EXACT)
def ids_differ(server: Server) -> None:
    """No two answers have one id, be the requests the same."""
    found = [server.ask(seed=1).json.get("id") for _ in range(3)]
    require(len(set(found)) == 3, "three ids", found, server.last)


@protocol(Level.MUST, Evidence.EXACT)
def is_called_json(server: Server) -> None:
    """The content type of an answer is application/json."""
    reply = server.post()
    demand_success(reply)
    kind = reply.headers.get("content-type", "")
    require(kind.partition(";")[0].strip() == "application/json", "application/json", kind)


@protocol(Level.MUST, Evidence.EXACT, rests_on="RFC 8259")
def has_no_infinite_number(server: Server) -> None:
    """Every number is finite: `NaN` and `Infinity` are no JSON, and −∞ is written as −9999.0."""
    asked: list[dict[str, Any]] = [{}, {"temperature": 2, "top_k": 1, "top_p": 0.5}]
    if has(server, LOGPROBS):
        asked += [fields | {"logprobs": 5} for fields in asked]
        asked += [{"logprobs": 5, "echo": True}]
    for fields in asked:
        reply = server.post(**fields)
        if reply.status == 200:
            finite(reply)


def finite(reply: Reply) -> None:
    """Raises Failed for a literal that JSON does not have, and for 1e999."""

    def number(text: str) -> float:
        if abs(value := float(text)) == float("inf"):
            literal(text)
        return value

    def literal(text: str) -> NoReturn:
        raise Failed("numbers that JSON has", text, at=reply.at)

    try:
        json.loads(reply.text, parse_constant=literal, parse_float=number)
    except ValueError:
        raise Failed("JSON", reply.text[:200], at=reply.at) from None


@protocol(Level.SHOULD, Evidence.METAMORPHIC)
def both_paths_answer_alike(server: Server) -> None:
    """`/v1/completions` and `/v1/openai/completions` are one endpoint."""
    bodies = [server.body(), server.body(max_tokens=3, prompt="The")]
    for body in bodies:
        found = []
        for prefix in PREFIXES:
            reply = server.send(body, url=f"{server.target.root}{prefix}/completions")
            demand_success(reply)
            found.append(contents(Answer(reply.json, reply.at).choices))
        equal(found[1], found[0], "the answer at the other path", server.last)
