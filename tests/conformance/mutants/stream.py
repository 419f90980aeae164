"""Mutants of stream."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Scope

from api.app import create_app
from reference.bundle import Bundle
from reference.tokenizer.protocol import Tokenizer
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app, served_model
from tests.conformance.mutations.requests import drop_fields, mutate_body, route_by_body
from tests.conformance.mutations.responses import (
    RawResponse,
    each_choice,
    mutate_json,
    mutate_response,
    mutate_text,
)


def for_streams(model: Bundle, broken: ASGIApp) -> ASGIApp:
    """Answer streaming requests with another app."""
    app = conforming_app(model)
    return route_by_body(lambda body: broken if b'"stream": true' in body else app)


def with_events(model: Bundle, change: Callable[[list[Json]], list[Json]]) -> ASGIApp:
    """Change the events of each stream."""

    def changed(text: str, kind: str) -> str:
        if "event-stream" not in kind:
            return text
        *frames, _, _ = text.split("\n\n")
        events = change([json.loads(frame.removeprefix("data: ")) for frame in frames])
        return "".join(f"data: {json.dumps(e)}\n\n" for e in events) + "data: [DONE]\n\n"

    return mutate_text(conforming_app(model), changed)


@mutant("stream/false-is-single-json")
def stream_by_default(model: Bundle) -> ASGIApp:
    """Stream if the field is omitted."""
    return mutate_body(conforming_app(model), lambda body: {"stream": True} | body)


@mutant("stream/sse-framing")
def done_marker_missing(model: Bundle) -> ASGIApp:
    """Leave out `[DONE]`."""
    return mutate_text(
        conforming_app(model), lambda text, kind: text.replace("data: [DONE]\n\n", "")
    )


@mutant("stream/line-separators-escaped")
def raw_line_separators(model: Bundle) -> ASGIApp:
    """Send every character as it is."""
    return mutate_text(
        conforming_app(model),
        lambda text, kind: re.sub(
            r"\\u(0085|2028|2029)", lambda match: chr(int(match[1], 16)), text
        ),
    )


@mutant("stream/line-separators-escaped")
def line_separators_dropped(model: Bundle) -> ASGIApp:
    """Leave out line separators."""
    return mutate_text(
        conforming_app(model), lambda text, kind: re.sub(r"\\u(0085|2028|2029)", "", text)
    )


@mutant("stream/one-choice-per-event", "stream/usage-on-last-event")
def separate_usage_event(model: Bundle) -> ASGIApp:
    """Send usage in a separate last event without choices."""

    def split(events: list[Json]) -> list[Json]:
        last = events[-1]
        usage = last.pop("usage", None)
        return [*events, last | {"choices": [], "usage": usage}] if usage else events

    return with_events(model, split)


@mutant("stream/usage-on-last-event")
def usage_per_choice(model: Bundle) -> ASGIApp:
    """Send usage with the finish_reason of every choice."""

    def copy_usage(events: list[Json]) -> list[Json]:
        usage = {k: events[-1][k] for k in ("usage",) if k in events[-1]}
        return [e | (usage if e["choices"][0]["finish_reason"] else {}) for e in events]

    return with_events(model, copy_usage)


@mutant("stream/consistent-event-metadata")
def id_per_event(model: Bundle) -> ASGIApp:
    """Give each event another id."""

    def number(events: list[Json]) -> list[Json]:
        return [event | {"id": f"cmpl-{i}"} for i, event in enumerate(events)]

    return with_events(model, number)


@mutant("stream/single-finish-reason")
def early_finish_reason(model: Bundle) -> ASGIApp:
    """Send a finish_reason with the first event, too."""

    def add_reason(events: list[Json]) -> list[Json]:
        events[0]["choices"][0]["finish_reason"] = "length"
        return events

    return with_events(model, add_reason)


@mutant("stream/incremental-text")
def single_text_event(model: Bundle) -> ASGIApp:
    """Send the whole text with the last event."""

    def join(events: list[Json]) -> list[Json]:
        text = "".join(event["choices"][0]["text"] for event in events)
        events[-1]["choices"][0]["text"] = text
        return events[-1:]

    return with_events(model, join)


@mutant("stream/error-status")
def errors_as_events(model: Bundle) -> ASGIApp:
    """Start a stream before the request is validated."""

    def as_event(scope: Scope, response: RawResponse) -> RawResponse:
        headers = {"content-type": "text/event-stream"}
        return (
            response
            if response[0] == 200
            else (200, headers, f"data: {response[2]}\n\ndata: [DONE]\n\n")
        )

    return for_streams(model, mutate_response(conforming_app(model), as_event))


@mutant("stream/equals-non-streamed")
def leading_spaces_stripped(model: Bundle) -> ASGIApp:
    """Detokenize each event separately, which strips its leading space."""

    def strip(choice: Json) -> None:
        choice["text"] = choice["text"].removeprefix(" ")

    return mutate_json(conforming_app(model), event=each_choice(strip))


@mutant("stream/equals-non-streamed-with-stop")
def stop_string_leaks(model: Bundle) -> ASGIApp:
    """Send the first character of a stop string before the rest of it arrives."""

    def leak(choice: Json) -> None:
        if isinstance(stop := choice["stop_reason"], str):
            choice["text"] += stop[:1]

    return mutate_json(conforming_app(model), event=each_choice(leak))


@mutant("stream/equals-non-streamed-n")
def all_indices_zero(model: Bundle) -> ASGIApp:
    """Send every event with the index 0."""
    return mutate_json(conforming_app(model), event=each_choice(lambda c: c.update(index=0)))


@mutant("stream/equals-non-streamed-list")
def first_prompt_only(model: Bundle) -> ASGIApp:
    """Stream only the first prompt of a list."""

    def first(body: Json) -> Json:
        prompt: Any = body.get("prompt")
        is_text_list = isinstance(prompt, list) and isinstance(prompt[0], str)
        return body | ({"prompt": prompt[0]} if is_text_list else {})

    return for_streams(model, mutate_body(conforming_app(model), first))


@mutant("stream/equals-non-streamed-echo")
def echo_dropped(model: Bundle) -> ASGIApp:
    """Drop `echo` of streaming requests."""
    return for_streams(model, drop_fields(conforming_app(model), "echo"))


class TokenByTokenTokenizer:
    """A tokenizer that decodes each token separately."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def token_bytes(self, token: int) -> bytes:
        return self.tokenizer.token_bytes(token).decode(errors="replace").encode()


@mutant("stream/whole-characters")
def token_by_token_decoding(model: Bundle) -> ASGIApp:
    """Decode each token of a stream separately."""
    tokenizer: Any = TokenByTokenTokenizer(model.tokenizer)
    broken = replace(served_model(model), tokenizer=tokenizer)
    return for_streams(model, create_app([broken]))
