"""echo, broken."""

from collections.abc import Callable

from starlette.types import ASGIApp

from conformance.http.client import PROMPT
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    cutting,
    each_choice,
    forgiving,
    sometimes,
    whole,
)


def with_echo(model: Bundle, change: Callable[[Json], Json]) -> ASGIApp:
    """Whole answers with an echo are changed."""
    return sometimes(model, lambda body: body.get("echo"), answering(whole(model), change))


def with_rows(model: Bundle, change: Callable[[Json, int], None]) -> ASGIApp:
    """The rows of answers with an echo are changed, given how many are of the prompt."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if choice["logprobs"]:
                change(choice["logprobs"], answer["usage"]["prompt_tokens"])
        return answer

    return with_echo(model, changed)


@mutant("echo/wrong-type-is-refused")
def any_type(model: Bundle) -> ASGIApp:
    """What is no boolean is dropped."""
    return forgiving(whole(model), "echo", lambda v: v in (None, True, False))


@mutant("echo/null-and-false-are-off")
def null_is_on(model: Bundle) -> ASGIApp:
    """Null is true."""
    return asking(whole(model), lambda b: b | {"echo": b.get("echo") is not False})


@mutant("echo/the-prompt-comes-back-as-it-was-sent")
def stripped(model: Bundle) -> ASGIApp:
    """The prompt loses its leading spaces, as if it were spelled from its tokens."""

    def change(choice: Json) -> None:
        choice["text"] = choice["text"].removeprefix(" ")

    return with_echo(model, each_choice(change))


@mutant("echo/each-choice-has-the-prompt")
def only_the_first(model: Bundle) -> ASGIApp:
    """Only the first choice has the prompt."""

    def change(choice: Json) -> None:
        if choice["index"]:
            choice["text"] = choice["text"].removeprefix(PROMPT)

    return with_echo(model, each_choice(change))


@mutant("echo/a-prompt-of-ids-comes-back-as-text")
def begins_with_bos(model: Bundle) -> ASGIApp:
    """A prompt of ids comes back with the special token that it begins with."""

    def change(choice: Json) -> None:
        choice["text"] = "<s> " + choice["text"]

    broken = answering(whole(model), each_choice(change))
    return sometimes(model, lambda b: b.get("echo") and isinstance(b["prompt"], list), broken)


@mutant("echo/has-rows-for-the-prompt-too")
def first_row_missing(model: Bundle) -> ASGIApp:
    """The token before everything, which has no log-probability, has no row."""
    return with_rows(model, lambda rows, _: [column.pop(0) for column in rows.values()])


@mutant("echo/has-rows-for-the-prompt-too")
def rows_of_the_output(model: Bundle) -> ASGIApp:
    """The prompt has no rows."""

    def change(rows: Json, start: int) -> None:
        rows.update({name: column[start:] for name, column in rows.items()})

    return with_rows(model, change)


@mutant("echo/rows-of-the-output-are-the-same", "echo/offsets-count-characters-of-the-text")
def offsets_begin_again(model: Bundle) -> ASGIApp:
    """The offsets of the output count from its own beginning."""

    def change(rows: Json, start: int) -> None:
        offsets = rows["text_offset"]
        rows["text_offset"] = offsets[:start] + [o - offsets[start] for o in offsets[start:]]

    return with_rows(model, change)


@mutant("echo/offsets-count-characters-of-the-text")
def offsets_in_bytes(model: Bundle) -> ASGIApp:
    """Offsets count bytes."""

    def change(choice: Json) -> None:
        rows, text = choice["logprobs"] or {"text_offset": []}, choice["text"]
        rows["text_offset"] = [len(text[:o].encode()) for o in rows["text_offset"]]

    return with_echo(model, each_choice(change))


@mutant(
    "echo/scores-a-text-as-when-it-was-written",
    "echo/tells-whether-a-text-is-greedy",
    "echo/values-of-the-prompt-are-the-models",
)
def one_row_late(model: Bundle) -> ASGIApp:
    """A token of the prompt has the log-probability of the next one."""

    def change(rows: Json, start: int) -> None:
        values = rows["token_logprobs"]
        rows["token_logprobs"] = [None, *values[2 : start + 1], values[start], *values[start + 1 :]]

    return with_rows(model, change)


@mutant("echo/tells-whether-a-text-is-greedy")
def rounded(model: Bundle) -> ASGIApp:
    """`token_logprobs` of the prompt is rounded, `top_logprobs` is not."""

    def change(rows: Json, _: int) -> None:
        rows["token_logprobs"] = [v and round(v, 5) for v in rows["token_logprobs"]]

    return with_rows(model, change)


@mutant("echo/values-of-the-prompt-are-the-models")
def without_the_beginning(model: Bundle) -> ASGIApp:
    """The special token before the text is not read."""
    ids = model.tokenizer.encode

    def change(body: Json) -> Json:
        prompt = body["prompt"]
        return body | {"prompt": ids(prompt)[1:] if isinstance(prompt, str) else prompt}

    return sometimes(model, lambda body: body.get("echo"), asking(whole(model), change))


@mutant("echo/stop-strings-are-not-sought-in-the-prompt")
def stopped_by_the_prompt(model: Bundle) -> ASGIApp:
    """Stop strings are sought in the whole text, and the prompt is in it."""

    def cut(text: str, stops: list[str]) -> tuple[int, str] | None:
        return next(((text.find(s), s) for s in stops if s in text), None)

    return cutting(model, cut)
