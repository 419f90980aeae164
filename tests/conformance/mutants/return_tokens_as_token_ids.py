"""Mutants of the checks of return_tokens_as_token_ids."""

from collections.abc import Callable

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import broken_when, drop_fields, mutate_body
from tests.conformance.mutations.responses import each_choice, mutate_json

NAME = "return_tokens_as_token_ids"


def with_ids(model: Bundle, change: Callable[[Json], None]) -> ASGIApp:
    """Change the logprobs of answers whose token names are ids."""

    def changed(choice: Json) -> None:
        if choice["logprobs"]:
            change(choice["logprobs"])

    broken = mutate_json(conforming_app(model), each_choice(changed))
    return broken_when(model, lambda body: body.get(NAME), broken)


@mutant("return_tokens_as_token_ids/token-id-names")
def ignored(model: Bundle) -> ASGIApp:
    """Accept and ignore the parameter."""
    return drop_fields(conforming_app(model), NAME)


@mutant("return_tokens_as_token_ids/token-id-names")
def chosen_token_only(model: Bundle) -> ASGIApp:
    """Name only the chosen token of `top_logprobs` by its id."""

    def change(columns: Json) -> None:
        columns["top_logprobs"] = [
            {(n if n == name else n.removeprefix("token_id:")): v for n, v in top.items()}
            for name, top in zip(columns["tokens"], columns["top_logprobs"], strict=True)
        ]

    return with_ids(model, change)


@mutant("return_tokens_as_token_ids/text-names-by-default")
def null_is_on(model: Bundle) -> ASGIApp:
    """Treat null and the absence of the field as true."""
    return mutate_body(conforming_app(model), lambda b: b | {NAME: b.get(NAME) is not False})


@mutant("return_tokens_as_token_ids/other-fields-unchanged")
def values_rounded(model: Bundle) -> ASGIApp:
    """Round the values to four digits if names are ids."""

    def change(columns: Json) -> None:
        columns["token_logprobs"] = [round(value, 4) for value in columns["token_logprobs"]]

    return with_ids(model, change)


@mutant("return_tokens_as_token_ids/text-offsets-unchanged")
def offsets_of_names(model: Bundle) -> ASGIApp:
    """Count the characters of the names in offsets."""

    def change(columns: Json) -> None:
        names = columns["tokens"]
        columns["text_offset"] = [len("".join(names[:i])) for i in range(len(names))]

    return with_ids(model, change)


@mutant("return_tokens_as_token_ids/vocabulary-ids")
def ids_off_by_one(model: Bundle) -> ASGIApp:
    """Count ids from 1."""

    def change(columns: Json) -> None:
        numbers = [int(name.removeprefix("token_id:")) for name in columns["tokens"]]
        columns["tokens"] = [f"token_id:{number + 1}" for number in numbers]

    return with_ids(model, change)
