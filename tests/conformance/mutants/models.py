"""Mutants of the checks of models."""

import json
from collections.abc import Callable

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations.engine import Json, conforming_app
from tests.conformance.mutations.responses import RawResponse, mutate_response


def with_model_list(
    model: Bundle, change: Callable[[Json], Json], path: str = "/models"
) -> ASGIApp:
    """Change the list at a path, or at all paths that end in it."""

    def changed(scope: Scope, response: RawResponse) -> RawResponse:
        status, headers, text = response
        if scope["path"].endswith(path):
            text = json.dumps(change(json.loads(text)))
        return status, headers, text

    return mutate_response(conforming_app(model), changed)


def set_fields(**fields: object) -> Callable[[Json], Json]:
    """Return a change that sets fields of each entry."""
    return lambda listed: listed | {"data": [entry | fields for entry in listed["data"]]}


@mutant("models/served-model-listed")
def path_as_id(model: Bundle) -> ASGIApp:
    """Report the path of its files as the id of a model."""
    return with_model_list(model, set_fields(id="/models/tiny"))


@mutant("models/entry-fields")
def date_string(model: Bundle) -> ASGIApp:
    """Report `created` as a date."""
    return with_model_list(model, set_fields(created="2025-01-01T00:00:00Z"))


@mutant("models/same-list-both-paths")
def empty_alias(model: Bundle) -> ASGIApp:
    """List no model at one of the two paths."""
    return with_model_list(model, lambda listed: listed | {"data": []}, "/v1/openai/models")
