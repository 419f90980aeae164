"""The list of models, broken."""

import json
from collections.abc import Callable

from starlette.types import ASGIApp, Scope

from reference.bundle import Bundle
from tests.conformance.mutants import mutant
from tests.conformance.mutations import Json, Said, replying, whole


def listing(model: Bundle, change: Callable[[Json], Json], path: str = "/models") -> ASGIApp:
    """The list at some paths, changed."""

    def changed(scope: Scope, said: Said) -> Said:
        status, headers, text = said
        if scope["path"].endswith(path):
            text = json.dumps(change(json.loads(text)))
        return status, headers, text

    return replying(whole(model), changed)


def each(**fields: object) -> Callable[[Json], Json]:
    return lambda listed: listed | {"data": [entry | fields for entry in listed["data"]]}


@mutant("models/lists-what-is-served")
def paths(model: Bundle) -> ASGIApp:
    """A model is listed by the path of its files."""
    return listing(model, each(id="/models/tiny"))


@mutant("models/entries-say-what-they-are")
def dates(model: Bundle) -> ASGIApp:
    """`created` is a date."""
    return listing(model, each(created="2025-01-01T00:00:00Z"))


@mutant("models/both-paths-list-the-same")
def an_empty_alias(model: Bundle) -> ASGIApp:
    """One of the two paths lists nothing."""
    return listing(model, lambda listed: listed | {"data": []}, "/v1/openai/models")
