"""The tiny models, and an app on a socket as the target of checks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.types import ASGIApp

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
    with running_server(app) as address, httpx.Client(timeout=60) as http:
        key = keys[0] if keys else None
        oracle = ReferenceOracle(model)
        yield Target(base=f"{address}/v1", model=NAME, http=http, api_key=key, oracle=oracle)
