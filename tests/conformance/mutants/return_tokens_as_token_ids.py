"""return_tokens_as_token_ids, broken."""

from collections.abc import Callable

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import (
    Json,
    answering,
    asking,
    each_choice,
    forgiving,
    sometimes,
    whole,
    without,
)

NAME = "return_tokens_as_token_ids"


def with_ids(model: Bundle, change: Callable[[Json], None]) -> ASGIApp:
    """The rows of answers are changed in which tokens are called by their ids."""

    def changed(choice: Json) -> None:
        if choice["logprobs"]:
            change(choice["logprobs"])

    broken = answering(whole(model), each_choice(changed))
    return sometimes(model, lambda body: body.get(NAME), broken)


@mutant("return_tokens_as_token_ids/wrong-type-is-refused")
def any_type(model: Bundle) -> ASGIApp:
    """What is no boolean is dropped."""
    return forgiving(whole(model), NAME, lambda v: v in (None, True, False))


@mutant("return_tokens_as_token_ids/every-name-is-an-id")
def ignored(model: Bundle) -> ASGIApp:
    """It is accepted and dropped."""
    return without(whole(model), NAME)


@mutant("return_tokens_as_token_ids/every-name-is-an-id")
def only_the_chosen(model: Bundle) -> ASGIApp:
    """In `top_logprobs` only the chosen token is called by its id."""

    def change(rows: Json) -> None:
        rows["top_logprobs"] = [
            {(n if n == name else n.removeprefix("token_id:")): v for n, v in top.items()}
            for name, top in zip(rows["tokens"], rows["top_logprobs"], strict=True)
        ]

    return with_ids(model, change)


@mutant("return_tokens_as_token_ids/null-and-false-are-off")
def null_is_on(model: Bundle) -> ASGIApp:
    """Null is true."""
    return asking(whole(model), lambda b: b | {NAME: b.get(NAME) is not False})


@mutant("return_tokens_as_token_ids/only-names-change")
def rounded(model: Bundle) -> ASGIApp:
    """With it values have four digits."""

    def change(rows: Json) -> None:
        rows["token_logprobs"] = [round(value, 4) for value in rows["token_logprobs"]]

    return with_ids(model, change)


@mutant("return_tokens_as_token_ids/offsets-are-those-of-the-text")
def offsets_of_names(model: Bundle) -> ASGIApp:
    """Offsets count the characters of the names."""

    def change(rows: Json) -> None:
        names = rows["tokens"]
        rows["text_offset"] = [len("".join(names[:i])) for i in range(len(names))]

    return with_ids(model, change)


@mutant("return_tokens_as_token_ids/ids-are-the-checkpoints")
def off_by_one(model: Bundle) -> ASGIApp:
    """Ids are counted from 1."""

    def change(rows: Json) -> None:
        numbers = [int(name.removeprefix("token_id:")) for name in rows["tokens"]]
        rows["tokens"] = [f"token_id:{number + 1}" for number in numbers]

    return with_ids(model, change)
