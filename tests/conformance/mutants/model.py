"""model, broken."""

from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import NAME, Json, answering, asking, whole


@mutant("model/missing-is-refused")
def default(model: Bundle) -> ASGIApp:
    """Without a model it is the only one."""
    return asking(whole(model), lambda body: {"model": NAME} | body)


@mutant("model/wrong-types-are-refused")
def first_of_a_list(model: Bundle) -> ASGIApp:
    """A list of models is its first."""

    def first(body: Json) -> Json:
        name: Any = body.get("model")
        return body | {"model": name[0] if isinstance(name, list) else name}

    return asking(whole(model), first)


@mutant("model/another-name-is-404")
def any_name(model: Bundle) -> ASGIApp:
    """Whatever is asked for is the only model that there is."""

    def rename(body: Json) -> Json:
        return body | ({"model": NAME} if isinstance(body.get("model"), str) else {})

    return asking(whole(model), rename)


@mutant("model/the-answer-names-it")
def another_name(model: Bundle) -> ASGIApp:
    """The answer names the files."""
    return answering(whole(model), lambda answer: answer | {"model": "/models/tiny"})
