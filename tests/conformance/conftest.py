"""The tiny models, and apps on a socket as the target of checks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from conformance.http.client import Target
from conformance.oracle.reference_oracle import ReferenceOracle
from reference.bundle import Bundle, load_bundle
from tests.api.conftest import running_server
from tests.conformance import tiny_models
from tests.conformance.mutations.engine import NAME


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_models.write(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def vision_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_models.write_vision(tmp_path_factory.mktemp("vision")))


@pytest.fixture
def model_of(tiny_model: Bundle, vision_model: Bundle) -> Callable[[str], Bundle]:
    """Return the function that maps the id of a check or a mutant to the model that it needs."""
    return lambda identity: vision_model if tiny_models.needs_vision(identity) else tiny_model


@contextmanager
def target(app: ASGIApp, model: Bundle, keys: tuple[str, ...] = ()) -> Iterator[Target]:
    """Serve an app. keys: those that it accepts, the first of which the checks send."""
    with running_server(app) as address, target_at(address, model, keys) as server:
        yield server


@contextmanager
def target_at(address: str, model: Bundle, keys: tuple[str, ...] = ()) -> Iterator[Target]:
    """Yield the target of the app that runs at an address."""
    with httpx.Client(timeout=60) as http:
        key = keys[0] if keys else None
        oracle = ReferenceOracle(model)
        yield Target(base=f"{address}/v1", model=NAME, http=http, api_key=key, oracle=oracle)


class ReplaceableApp:
    """An ASGI app that passes each request to the app that is set."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


Serve = Callable[[ASGIApp], str]


@pytest.fixture(scope="session")
def serve_app() -> Iterator[Serve]:
    """Return a function that serves an app in place of the one before, and returns its address.

    Hundreds of apps share one server, because a server takes 0.15 s to stop.
    """
    replaceable = ReplaceableApp()

    def serve(app: ASGIApp) -> str:
        replaceable.app = app
        return address

    with running_server(replaceable) as address:
        yield serve
