"""stop, broken."""

import json
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from reference.stopping import beginning
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    by_body,
    cutting,
    each_choice,
    forgiving,
    sometimes,
    whole,
)


def listed(stop: Any) -> list[Any]:
    return stop if isinstance(stop, list) else [] if stop is None else [stop]


def told(model: Bundle, change: Callable[[list[Any]], Any]) -> ASGIApp:
    """Other stop strings are sought."""

    def changed(body: Json) -> Json:
        return body | ({"stop": change(listed(body["stop"]))} if "stop" in body else {})

    return asking(whole(model), changed)


def if_stopped(change: Callable[[Json, Json], None]) -> Callable[[Json], Json]:
    """Of a whole answer: a change of each choice that a string ended, given the usage too."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if isinstance(choice["stop_reason"], str):
                change(choice, answer["usage"])
        return answer

    return changed


@mutant("stop/more-than-sixteen-are-refused")
def first_sixteen(model: Bundle) -> ASGIApp:
    """What is too many is dropped."""
    return told(model, lambda stops: stops[:16])


@mutant("stop/an-empty-string-is-refused")
def empty_dropped(model: Bundle) -> ASGIApp:
    """Empty strings are dropped."""
    return told(model, lambda stops: [stop for stop in stops if stop != ""])


@mutant("stop/wrong-type-is-refused")
def any_type(model: Bundle) -> ASGIApp:
    """What is no string is dropped."""
    return forgiving(
        whole(model), "stop", lambda v: v is None or all(isinstance(s, str) for s in listed(v))
    )


@mutant("stop/up-to-sixteen-are-accepted")
def at_most_four(model: Bundle) -> ASGIApp:
    """More than four are refused."""
    return told(model, lambda stops: stops if len(stops) <= 4 else 4)


@mutant("stop/any-string-of-the-list-ends")
def first_four(model: Bundle) -> ASGIApp:
    """Only the first four are sought."""
    return told(model, lambda stops: stops[:4])


@mutant("stop/one-string-is-a-list-of-one")
def characters(model: Bundle) -> ASGIApp:
    """A string is read as the list of its characters."""
    return asking(
        whole(model),
        lambda b: b | ({"stop": list(b["stop"])} if isinstance(b.get("stop"), str) else {}),
    )


@mutant("stop/the-text-ends-before-the-match")
def match_in_the_text(model: Bundle) -> ASGIApp:
    """The stop string stays in the text."""

    def change(choice: Json, _: Json) -> None:
        choice["text"] += choice["stop_reason"]

    return answering(whole(model), if_stopped(change))


@mutant("stop/the-reason-is-the-string")
def no_reason(model: Bundle) -> ASGIApp:
    """`stop_reason` is always null."""
    return answering(whole(model), each_choice(lambda choice: choice.update(stop_reason=None)))


@mutant("stop/the-match-that-completes-first-wins")
def first_in_the_list(model: Bundle) -> ASGIApp:
    """The first of the list that is in the text ends it."""

    def cut(text: str, stops: list[str]) -> tuple[int, str] | None:
        return next(((text.find(stop), stop) for stop in stops if stop in text), None)

    return cutting(model, cut)


@mutant("stop/the-match-that-completes-first-wins", "stop/the-order-of-the-list-decides-a-tie")
def first_in_the_text(model: Bundle) -> ASGIApp:
    """The match that begins first ends the text."""

    def cut(text: str, stops: list[str]) -> tuple[int, str] | None:
        return min(((text.find(stop), stop) for stop in stops if stop in text), default=None)

    return cutting(model, cut)


@mutant("stop/what-does-not-match-changes-nothing", "stop/what-was-held-back-arrives")
def held_back_for_ever(model: Bundle) -> ASGIApp:
    """What was held back at the end of a text is lost."""

    def losing(body: bytes) -> ASGIApp:
        stops = listed(asked(body).get("stop"))

        def change(choice: Json) -> None:
            text, ended = choice["text"], choice["finish_reason"] == "length"
            lost = max((beginning(text, s) for s in stops if isinstance(s, str)), default=0)
            choice["text"] = text[: len(text) - lost] if ended else text

        return answering(app, each_choice(change), each_choice(change)) if stops else app

    app = whole(model)
    return by_body(losing)


def asked(body: bytes) -> Json:
    found: Json = json.loads(body) if body else {}
    return found


@mutant("stop/on-the-last-token-stop-beats-length")
def length_first(model: Bundle) -> ASGIApp:
    """On the last token the reason is length, whatever the text."""

    def short(body: bytes) -> ASGIApp:
        limit = asked(body).get("max_tokens")

        def change(choice: Json, usage: Json) -> None:
            if usage["completion_tokens"] == limit:
                choice["finish_reason"] = "length"

        return answering(app, if_stopped(change))

    app = whole(model)
    return by_body(short)


@mutant("stop/tokens-of-the-match-are-counted")
def last_token_not_counted(model: Bundle) -> ASGIApp:
    """The token that completes the match is not counted."""

    def change(_: Json, usage: Json) -> None:
        usage["completion_tokens"] -= 1

    return answering(whole(model), if_stopped(change))


@mutant("stop/tokens-of-the-match-have-rows")
def rows_of_the_text(model: Bundle) -> ASGIApp:
    """Tokens that are no text have no rows."""

    def change(choice: Json, _: Json) -> None:
        rows = choice["logprobs"] or {"text_offset": []}
        kept = sum(offset < len(choice["text"]) for offset in rows["text_offset"])
        rows.update({name: column[:kept] for name, column in rows.items()})

    return answering(whole(model), if_stopped(change))


@mutant("stop/no-part-of-a-match-is-streamed")
def leaked(model: Bundle) -> ASGIApp:
    """The first character of a match has been sent when the rest of it comes."""

    def change(choice: Json) -> None:
        if isinstance(choice["stop_reason"], str):
            choice["text"] += choice["stop_reason"][0]

    return answering(whole(model), event=each_choice(change))


@mutant("stop/only-what-could-match-is-held-back")
def window(model: Bundle) -> ASGIApp:
    """As many characters are held back as the longest stop string has."""
    held: list[str] = []

    def change(choice: Json) -> None:
        held.append(choice["text"])
        choice["text"] = "".join(held) if choice["finish_reason"] else ""
        if choice["finish_reason"]:
            held.clear()

    broken = answering(whole(model), event=each_choice(change))
    return sometimes(model, lambda body: body.get("stop"), broken)
