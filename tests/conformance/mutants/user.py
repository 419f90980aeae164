"""Mutants of the checks of user."""

from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.requests import mutate_body


@mutant("user/no-effect-on-greedy")
def user_in_prompt(model: Bundle) -> ASGIApp:
    """Begin the prompt with the user's name, as in a chat."""

    def prefix(body: Json) -> Json:
        user = body.get("user")
        return body | ({"prompt": f"{user}: {body['prompt']}"} if user else {})

    return mutate_body(conforming_app(model), prefix)


@mutant("user/no-effect-on-draws")
def user_enters_seed(model: Bundle) -> ASGIApp:
    """Mix the user into the seed."""

    def mix(body: Json) -> Json:
        user: Any = body.get("user") or ""
        return body | ({"seed": body["seed"] + len(user)} if "seed" in body else {})

    return mutate_body(conforming_app(model), mix)
