"""The shape of an answer, broken."""

import itertools

from starlette.types import ASGIApp, Receive, Scope, Send

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    Said,
    answering,
    each_choice,
    replying,
    rewriting,
    whole,
    without,
)


@mutant("response/says-what-it-is")
def milliseconds(model: Bundle) -> ASGIApp:
    """`created` is in milliseconds."""
    return answering(whole(model), lambda a: a | {"created": a["created"] * 1000})


@mutant("response/has-a-fingerprint")
def a_fingerprint_of_each(model: Bundle) -> ASGIApp:
    """The fingerprint is that of the answer."""
    return answering(whole(model), lambda a: a | {"system_fingerprint": f"fp_{a['id']}"})


@mutant("response/choices-have-their-fields")
def another_reason(model: Bundle) -> ASGIApp:
    """The reason of the limit is called `max_tokens`."""

    def rename(choice: Json) -> None:
        if choice["finish_reason"] == "length":
            choice["finish_reason"] = "max_tokens"

    return answering(whole(model), each_choice(rename))


@mutant("response/choices-have-a-stop-reason")
def no_stop_reason(model: Bundle) -> ASGIApp:
    """What ended a choice is not said."""
    return answering(whole(model), each_choice(lambda c: c.pop("stop_reason")))


@mutant("response/logprobs-are-null-unless-asked-for")
def rows_of_nothing(model: Bundle) -> ASGIApp:
    """Where no log-probabilities are asked for there are rows without any."""

    def fill(choice: Json) -> None:
        names = "tokens", "token_logprobs", "top_logprobs", "text_offset"
        choice["logprobs"] = choice["logprobs"] or {name: [] for name in names}

    return answering(whole(model), each_choice(fill))


@mutant("response/ids-differ")
def ids_wrap(model: Bundle) -> ASGIApp:
    """Ids are those of two slots."""
    slots = itertools.cycle(("cmpl-0", "cmpl-1"))
    return answering(whole(model), lambda a: a | {"id": next(slots)})


@mutant("response/is-called-json")
def called_text(model: Bundle) -> ASGIApp:
    """The content type is that of plain text."""

    def rename(scope: Scope, said: Said) -> Said:
        status, headers, text = said
        return status, headers | {"content-type": "text/plain; charset=utf-8"}, text

    return replying(whole(model), rename)


@mutant("response/has-no-infinite-number")
def nan_for_null(model: Bundle) -> ASGIApp:
    """The log-probability of the first token of an echo is NaN."""
    before, after = '"token_logprobs":[null', '"token_logprobs":[NaN'
    return rewriting(whole(model), lambda text, kind: text.replace(before, after))


@mutant("response/both-paths-answer-alike")
def an_alias_drops(model: Bundle) -> ASGIApp:
    """One of the two paths drops the temperature."""
    app, alias = whole(model), without(whole(model), "temperature")

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        openai = scope.get("path", "").startswith("/v1/openai")
        await (alias if openai else app)(scope, receive, send)

    return broken
