"""Text, broken."""

from collections.abc import Callable

from starlette.types import ASGIApp

from conformance.oracle.dialects import NAMES, chain
from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Json, answering, each_choice, steps, whole

UNREADABLE = "\ufffd"


def written(model: Bundle, change: Callable[[str], str]) -> ASGIApp:
    """The texts of whole answers are changed."""

    def changed(choice: Json) -> None:
        choice["text"] = change(choice["text"])

    return answering(whole(model), each_choice(changed))


def if_ended(model: Bundle, change: Callable[[Json, Json], None]) -> ASGIApp:
    """Whole answers are changed whose text came to its end by itself."""

    def changed(answer: Json) -> Json:
        for choice in answer["choices"]:
            if choice["finish_reason"] == "stop" and choice["stop_reason"] is None:
                change(choice, answer["usage"])
        return answer

    return answering(whole(model), changed)


@mutant("text/is-what-its-tokens-spell", "text/what-is-no-character-is-replaced")
def left_out(model: Bundle) -> ASGIApp:
    """Bytes that are no character are left out."""
    return written(model, lambda text: text.replace(UNREADABLE, ""))


@mutant("text/what-is-no-character-is-replaced")
def twice(model: Bundle) -> ASGIApp:
    """Bytes that are no character are replaced by two of U+FFFD."""
    return written(model, lambda text: text.replace(UNREADABLE, 2 * UNREADABLE))


@mutant("text/a-stream-keeps-characters-whole")
def token_by_token(model: Bundle) -> ASGIApp:
    """A stream spells each token by itself: each byte of a character is U+FFFD."""

    def change(choice: Json) -> None:
        spelled = [c if c.isascii() else UNREADABLE * len(c.encode()) for c in choice["text"]]
        choice["text"] = "".join(spelled)

    return answering(whole(model), event=each_choice(change))


@mutant("text/has-no-half-characters")
def surrogates(model: Bundle) -> ASGIApp:
    """Bytes that are no character are written as lone surrogates."""
    return written(model, lambda text: text.replace(UNREADABLE, "\udcff"))


@mutant("text/the-space-before-the-output-is-kept")
def stripped(model: Bundle) -> ASGIApp:
    """The output is spelled by itself, so that it loses its leading space."""
    return written(model, lambda text: text.removeprefix(" "))


@mutant("text/an-unfinished-character-ends-a-text")
def held_back_for_ever(model: Bundle) -> ASGIApp:
    """A character that is not whole at the end is lost."""
    return written(model, lambda text: text.rstrip(UNREADABLE))


@mutant("text/special-tokens-are-never-drawn")
def all_allowed(model: Bundle) -> ASGIApp:
    """Any token may be drawn."""
    return steps(model, chain(NAMES[1:]))


@mutant("text/end-of-sequence-is-no-text")
def end_written(model: Bundle) -> ASGIApp:
    """The end of a text is written."""
    return if_ended(model, lambda choice, _: choice.update(text=choice["text"] + "</s>"))


@mutant("text/end-of-sequence-is-no-text")
def end_not_counted(model: Bundle) -> ASGIApp:
    """The end of a text is not counted."""

    def change(_: Json, usage: Json) -> None:
        usage["completion_tokens"] -= 1

    return if_ended(model, change)


@mutant("text/end-of-sequence-is-no-text")
def end_is_the_reason(model: Bundle) -> ASGIApp:
    """`stop_reason` is the id of end-of-sequence."""
    return if_ended(model, lambda choice, _: choice.update(stop_reason=2))
