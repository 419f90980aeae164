"""The tiny models, and an app on a socket as something to be checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from starlette.types import ASGIApp

from conformance.http.client import Target
from conformance.oracle.truth import Truth
from reference.bundle import Bundle, load_bundle
from tests.api.conftest import listening
from tests.conformance import tiny_models
from tests.conformance.mutations import NAME


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_models.write(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def seeing_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(tiny_models.write_seeing(tmp_path_factory.mktemp("seeing")))


@pytest.fixture
def model_of(tiny_model: Bundle, seeing_model: Bundle) -> Callable[[str], Bundle]:
    """The model that a check, or a mutant, of an id is about."""
    return lambda identity: seeing_model if tiny_models.sees(identity) else tiny_model


@contextmanager
def target(app: ASGIApp, model: Bundle, keys: tuple[str, ...] = ()) -> Iterator[Target]:
    """keys: of an app that wants one; it is asked with the first."""
    with listening(app) as address, httpx.Client(timeout=60) as http:
        key = keys[0] if keys else None
        yield Target(base=f"{address}/v1", model=NAME, http=http, api_key=key, truth=Truth(model))
