"""user, broken."""

from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Json, asking, whole


@mutant("user/wrong-types-are-refused")
def anything(model: Bundle) -> ASGIApp:
    """Whatever it is, it is not read."""
    return asking(whole(model), lambda b: b | ({"user": str(b["user"])} if "user" in b else {}))


@mutant("user/any-string-is-accepted")
def short(model: Bundle) -> ASGIApp:
    """It may have 64 characters."""

    def refuse(body: Json) -> Json:
        return body | ({"user": 64} if len(body.get("user") or "") > 64 else {})

    return asking(whole(model), refuse)


@mutant("user/changes-nothing")
def named_in_the_prompt(model: Bundle) -> ASGIApp:
    """The prompt begins with the user's name, as in a chat."""

    def named(body: Json) -> Json:
        user = body.get("user")
        return body | ({"prompt": f"{user}: {body['prompt']}"} if user else {})

    return asking(whole(model), named)


@mutant("user/does-not-enter-the-draws")
def chance_of_its_own(model: Bundle) -> ASGIApp:
    """Each user has chance of its own."""

    def mixed(body: Json) -> Json:
        user: Any = body.get("user") or ""
        return body | ({"seed": body["seed"] + len(user)} if "seed" in body else {})

    return asking(whole(model), mixed)
