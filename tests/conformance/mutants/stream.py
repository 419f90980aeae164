"""stream, broken."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Scope

from api.app import create_app
from reference.bundle import Bundle
from reference.tokenizer.protocol import Tokenizer
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    Said,
    answering,
    asking,
    by_body,
    each_choice,
    replying,
    rewriting,
    served,
    whole,
    without,
)


def for_streams(model: Bundle, broken: ASGIApp) -> ASGIApp:
    """Streams are answered by another app."""
    app = whole(model)
    return by_body(lambda body: broken if b'"stream": true' in body else app)


def of_events(model: Bundle, change: Callable[[list[Json]], list[Json]]) -> ASGIApp:
    """The events of a stream, changed."""

    def changed(text: str, kind: str) -> str:
        if "event-stream" not in kind:
            return text
        *frames, _, _ = text.split("\n\n")
        events = change([json.loads(frame.removeprefix("data: ")) for frame in frames])
        return "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"

    return rewriting(whole(model), changed)


@mutant("stream/wrong-types-are-refused")
def truthy(model: Bundle) -> ASGIApp:
    """Whatever is not empty is true."""

    def flag(body: Json) -> Json:
        return body | ({"stream": bool(body["stream"])} if "stream" in body else {})

    return asking(whole(model), flag)


@mutant("stream/false-is-a-whole-answer")
def by_default(model: Bundle) -> ASGIApp:
    """Without the field the answer is a stream."""
    return asking(whole(model), lambda body: {"stream": True} | body)


@mutant("stream/is-framed")
def no_end(model: Bundle) -> ASGIApp:
    """There is no [DONE]."""
    return rewriting(whole(model), lambda text, kind: text.replace("data: [DONE]\n\n", ""))


@mutant("stream/an-event-has-one-choice", "stream/usage-comes-with-the-last-reason")
def usage_of_its_own(model: Bundle) -> ASGIApp:
    """Usage comes in an event without choices, after the last."""

    def apart(events: list[Json]) -> list[Json]:
        last = events[-1]
        usage = last.pop("usage", None)
        return [*events, last | {"choices": [], "usage": usage}] if usage else events

    return of_events(model, apart)


@mutant("stream/usage-comes-with-the-last-reason")
def usage_with_each_reason(model: Bundle) -> ASGIApp:
    """Usage comes with the reason of each choice."""

    def copied(events: list[Json]) -> list[Json]:
        usage = {k: events[-1][k] for k in ("usage",) if k in events[-1]}
        return [e | (usage if e["choices"][0]["finish_reason"] else {}) for e in events]

    return of_events(model, copied)


@mutant("stream/events-are-of-one-answer")
def an_id_for_each(model: Bundle) -> ASGIApp:
    """Each event has an id of its own."""

    def numbered(events: list[Json]) -> list[Json]:
        return [event | {"id": f"cmpl-{i}"} for i, event in enumerate(events)]

    return of_events(model, numbered)


@mutant("stream/the-reason-comes-once")
def reasons_repeated(model: Bundle) -> ASGIApp:
    """The first event has a reason, too: it is not known yet."""

    def repeated(events: list[Json]) -> list[Json]:
        events[0]["choices"][0]["finish_reason"] = "length"
        return events

    return of_events(model, repeated)


@mutant("stream/comes-in-parts")
def all_at_once(model: Bundle) -> ASGIApp:
    """The text is sent with the last event."""

    def joined(events: list[Json]) -> list[Json]:
        text = "".join(event["choices"][0]["text"] for event in events)
        events[-1]["choices"][0]["text"] = text
        return events[-1:]

    return of_events(model, joined)


@mutant("stream/an-error-has-its-status")
def errors_as_events(model: Bundle) -> ASGIApp:
    """A stream begins before its request is looked at."""

    def event(scope: Scope, said: Said) -> Said:
        kind = {"content-type": "text/event-stream"}
        return said if said[0] == 200 else (200, kind, f"data: {said[2]}\n\ndata: [DONE]\n\n")

    return for_streams(model, replying(whole(model), event))


@mutant("stream/says-what-the-whole-says")
def spaces_stripped(model: Bundle) -> ASGIApp:
    """Each event is detokenised by itself, so that its leading space is lost."""

    def strip(choice: Json) -> None:
        choice["text"] = choice["text"].removeprefix(" ")

    return answering(whole(model), event=each_choice(strip))


@mutant("stream/says-what-the-whole-says-before-a-stop")
def stop_leaks(model: Bundle) -> ASGIApp:
    """The beginning of a stop string has been sent when its end comes."""

    def leak(choice: Json) -> None:
        if isinstance(stop := choice["stop_reason"], str):
            choice["text"] += stop[:1]

    return answering(whole(model), event=each_choice(leak))


@mutant("stream/says-what-the-whole-says-of-several")
def one_index(model: Bundle) -> ASGIApp:
    """Every event is of the first choice."""
    return answering(whole(model), event=each_choice(lambda c: c.update(index=0)))


@mutant("stream/says-what-the-whole-says-of-a-list")
def the_first_prompt(model: Bundle) -> ASGIApp:
    """Of a list of prompts the first is streamed."""

    def first(body: Json) -> Json:
        prompt: Any = body.get("prompt")
        several = isinstance(prompt, list) and isinstance(prompt[0], str)
        return body | ({"prompt": prompt[0]} if several else {})

    return for_streams(model, asking(whole(model), first))


@mutant("stream/says-what-the-whole-says-with-an-echo")
def no_echo(model: Bundle) -> ASGIApp:
    """A stream has no echo."""
    return for_streams(model, without(whole(model), "echo"))


class TokenByToken:
    """A tokenizer that makes text of each token by itself."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def piece(self, token: int) -> bytes:
        return self.tokenizer.piece(token).decode(errors="replace").encode()


@mutant("stream/sends-no-half-character")
def half_characters(model: Bundle) -> ASGIApp:
    """Each token of a stream is made text by itself."""
    tokenizer: Any = TokenByToken(model.tokenizer)
    broken = replace(served(model), tokenizer=tokenizer)
    return for_streams(model, create_app([broken]))
