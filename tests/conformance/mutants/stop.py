"""Mutants of stop."""

import json
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.stopping import partial_match_length
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import (
    Json,
    conforming_app,
    with_engine_requests,
    with_params,
)
from tests.conformance.mutations.requests import broken_when, mutate_body, route_by_body
from tests.conformance.mutations.responses import each_choice, mutate_json, truncate_text


def as_list(stop: Any) -> list[Any]:
    return stop if isinstance(stop, list) else [] if stop is None else [stop]


def with_stops(model: Bundle, change: Callable[[list[Any]], Any]) -> ASGIApp:
    """Change the stop strings of each request."""

    def changed(body: Json) -> Json:
        return body | ({"stop": change(as_list(body["stop"]))} if "stop" in body else {})

    return mutate_body(conforming_app(model), changed)


def stopped_choices(change: Callable[[Json, Json], None]) -> Callable[[Json], Json]:
    """Return a function that changes the choices that a stop string ended, given the usage too."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if isinstance(choice["stop_reason"], str):
                change(choice, answer["usage"])
        return answer

    return changed


@mutant("stop/too-many-strings-422")
def extra_strings_dropped(model: Bundle) -> ASGIApp:
    """Drop all strings after the first 16."""
    return with_stops(model, lambda stops: stops[:16])


@mutant("stop/empty-string-422")
def empty_strings_dropped(model: Bundle) -> ASGIApp:
    """Drop empty strings."""
    return with_stops(model, lambda stops: [stop for stop in stops if stop != ""])


@mutant("stop/sixteen-strings-accepted")
def four_string_limit(model: Bundle) -> ASGIApp:
    """Refuse more than four strings."""
    return with_stops(model, lambda stops: stops if len(stops) <= 4 else 4)


@mutant("stop/any-list-item-stops")
def first_four_only(model: Bundle) -> ASGIApp:
    """Search for the first four strings only."""
    return with_stops(model, lambda stops: stops[:4])


@mutant("stop/string-equals-one-item-list")
def string_split_into_characters(model: Bundle) -> ASGIApp:
    """Use each character of a string as a stop string."""
    return mutate_body(
        conforming_app(model),
        lambda b: b | ({"stop": list(b["stop"])} if isinstance(b.get("stop"), str) else {}),
    )


@mutant("stop/text-ends-before-match")
def match_kept_in_text(model: Bundle) -> ASGIApp:
    """Keep the stop string in the text."""

    def change(choice: Json, _: Json) -> None:
        choice["text"] += choice["stop_reason"]

    return mutate_json(conforming_app(model), stopped_choices(change))


@mutant("stop/stop-reason-is-string")
def null_stop_reason(model: Bundle) -> ASGIApp:
    """Report a null `stop_reason` in every choice."""
    return mutate_json(
        conforming_app(model), each_choice(lambda choice: choice.update(stop_reason=None))
    )


@mutant("stop/earliest-completed-match")
def first_listed_match(model: Bundle) -> ASGIApp:
    """End the text at the first string of the list that is in it."""

    def cut(text: str, stops: list[str]) -> tuple[int, str] | None:
        return next(((text.find(stop), stop) for stop in stops if stop in text), None)

    return truncate_text(model, cut)


@mutant("stop/earliest-completed-match", "stop/list-order-breaks-ties")
def earliest_start_match(model: Bundle) -> ASGIApp:
    """End the text at the match that begins first."""

    def cut(text: str, stops: list[str]) -> tuple[int, str] | None:
        return min(((text.find(stop), stop) for stop in stops if stop in text), default=None)

    return truncate_text(model, cut)


@mutant("stop/near-miss-unchanged", "stop/withheld-text-flushed")
def withheld_text_lost(model: Bundle) -> ASGIApp:
    """Lose the text that is withheld at the end of the output."""

    def lose_withheld(body: bytes) -> ASGIApp:
        stops = as_list(parse(body).get("stop"))

        def change(choice: Json) -> None:
            text, at_limit = choice["text"], choice["finish_reason"] == "length"
            withheld = max(
                (partial_match_length(text, s) for s in stops if isinstance(s, str)), default=0
            )
            choice["text"] = text[: len(text) - withheld] if at_limit else text

        return mutate_json(app, each_choice(change), each_choice(change)) if stops else app

    app = conforming_app(model)
    return route_by_body(lose_withheld)


def parse(body: bytes) -> Json:
    value: Json = json.loads(body) if body else {}
    return value


@mutant("stop/stop-beats-length")
def length_beats_stop(model: Bundle) -> ASGIApp:
    """Report the finish_reason length on the last token within max_tokens, even after a stop."""

    def report_length(body: bytes) -> ASGIApp:
        limit = parse(body).get("max_tokens")

        def change(choice: Json, usage: Json) -> None:
            if usage["completion_tokens"] == limit:
                choice["finish_reason"] = "length"

        return mutate_json(app, stopped_choices(change))

    app = conforming_app(model)
    return route_by_body(report_length)


@mutant("stop/matched-tokens-counted")
def last_token_not_counted(model: Bundle) -> ASGIApp:
    """Leave the token that completes the match out of the count."""

    def change(_: Json, usage: Json) -> None:
        usage["completion_tokens"] -= 1

    return mutate_json(conforming_app(model), stopped_choices(change))


@mutant("stop/matched-tokens-in-logprobs")
def matched_entries_missing(model: Bundle) -> ASGIApp:
    """Leave out the logprobs entries of tokens after the end of the text."""

    def change(choice: Json, _: Json) -> None:
        logprobs = choice["logprobs"] or {"text_offset": []}
        kept = sum(offset < len(choice["text"]) for offset in logprobs["text_offset"])
        logprobs.update({name: items[:kept] for name, items in logprobs.items()})

    return mutate_json(conforming_app(model), stopped_choices(change))


@mutant("stop/match-not-streamed")
def first_match_character_streamed(model: Bundle) -> ASGIApp:
    """Stream the first character of a match before the rest of it arrives."""

    def change(choice: Json) -> None:
        if isinstance(choice["stop_reason"], str):
            choice["text"] += choice["stop_reason"][0]

    return mutate_json(conforming_app(model), event=each_choice(change))


@mutant("stop/minimal-hold-back")
def fixed_hold_back_window(model: Bundle) -> ASGIApp:
    """Withhold as many characters as the longest stop string has."""
    withheld: list[str] = []

    def change(choice: Json) -> None:
        withheld.append(choice["text"])
        choice["text"] = "".join(withheld) if choice["finish_reason"] else ""
        if choice["finish_reason"]:
            withheld.clear()

    broken = mutate_json(conforming_app(model), event=each_choice(change))
    return broken_when(model, lambda body: body.get("stop"), broken)


@mutant("stop/special-token-name-stops")
def special_names_ignored(model: Bundle) -> ASGIApp:
    """Search for stop strings in the text only."""
    return with_engine_requests(
        model, lambda r: with_params(r, stop_token_ids=()) if r.params.stop else r
    )


@mutant("stop/special-token-name-stops")
def special_token_id_as_reason(model: Bundle) -> ASGIApp:
    """Report the id of a special token that a stop string names."""
    tokenizer = model.tokenizer
    ids = {tokenizer.token_bytes(i).decode(): i for i in model.disallowed_token_ids}

    def change(choice: Json) -> None:
        choice["stop_reason"] = ids.get(choice["stop_reason"], choice["stop_reason"])

    return mutate_json(conforming_app(model), each_choice(change))


@mutant("stop/special-token-name-stops")
def special_token_name_in_text(model: Bundle) -> ASGIApp:
    """Keep the name of a special token that ends the text."""

    def change(choice: Json) -> None:
        if str(choice["stop_reason"]).startswith("<"):
            choice["text"] += choice["stop_reason"]

    return mutate_json(conforming_app(model), each_choice(change))
