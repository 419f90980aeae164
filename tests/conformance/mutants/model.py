"""Mutants of the checks of model."""

from typing import Any

from starlette.types import ASGIApp

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import NAME, Json, conforming_app
from tests.conformance.mutations.requests import mutate_body
from tests.conformance.mutations.responses import mutate_json


@mutant("model/missing-name")
def single_model_default(model: Bundle) -> ASGIApp:
    """Use the only model if the request names none."""
    return mutate_body(conforming_app(model), lambda body: {"model": NAME} | body)


@mutant("model/type")
def first_of_list(model: Bundle) -> ASGIApp:
    """Use the first of a list of models."""

    def use_first(body: Json) -> Json:
        name: Any = body.get("model")
        return body | {"model": name[0] if isinstance(name, list) else name}

    return mutate_body(conforming_app(model), use_first)


@mutant("model/unknown-name-404")
def any_name_accepted(model: Bundle) -> ASGIApp:
    """Use the only served model for any name."""

    def rename(body: Json) -> Json:
        return body | ({"model": NAME} if isinstance(body.get("model"), str) else {})

    return mutate_body(conforming_app(model), rename)


@mutant("model/name-in-response")
def path_in_response(model: Bundle) -> ASGIApp:
    """Report the path of the files as the model."""
    return mutate_json(conforming_app(model), lambda answer: answer | {"model": "/models/tiny"})
