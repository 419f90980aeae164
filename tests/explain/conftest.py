"""Fixtures: the endpoint and the page over the embedded models."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from explain.extension import ExplainExtension
from reference.bundle import EMBEDDED
from tests.api.http_client import Json, parse_events

PATH = "/v1/explain"
BODY: Json = {"model": "tiny-text", "prompt": "Once upon a time", "max_tokens": 4, "seed": 7}


def explained_app(*served: ServedModel, **options: Any) -> Starlette:
    """Create an app of embedded models with the extension."""
    directories = [EMBEDDED / model.name.removeprefix("tiny-") for model in served]
    extension = ExplainExtension.of(served, directories)
    return create_app(served, extensions=[extension], **options)


@pytest.fixture(scope="session")
def app(reference_served: ServedModel) -> Starlette:
    return explained_app(reference_served)


@pytest.fixture(scope="session")
def client(app: Starlette) -> Iterator[TestClient]:
    with TestClient(app) as client:
        yield client


def post(client: Any, headers: Json | None = None, path: str = PATH, **body: Any) -> Any:
    """Send a request that is valid unless `body` changes it."""
    return client.post(path, json=BODY | body, headers=headers)


def events(client: Any, **body: Any) -> list[Json]:
    """Return the events of a request that succeeds."""
    response = post(client, **body)
    assert response.status_code == 200, response.text
    return parse_events(response.text)


def of_kind(events: list[Json], kind: str) -> list[Json]:
    return [event for event in events if event.get("object") == kind]


def tokens(client: Any, **body: Any) -> list[Json]:
    """Return the explanations of the tokens of a request that succeeds."""
    return of_kind(events(client, **body), "explain.token")
