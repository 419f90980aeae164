"""Fixtures: the app around the toy model or any backend, in this process and on a socket."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from api.app import create_app
from api.engine import ServedModel
from tests.api.toy import ToyEngine, toy_model


@pytest.fixture(scope="session")
def toy_served() -> Iterator[ServedModel]:
    served = toy_model()
    yield served
    served.engine.close()


@pytest.fixture(scope="session", params=["toy", "reference", "jax"])
def served(request: pytest.FixtureRequest) -> ServedModel:
    """A model on each backend. To add a backend, add a fixture `<backend>_served`."""
    served: ServedModel = request.getfixturevalue(f"{request.param}_served")
    return served


@pytest.fixture(scope="session")
def client(served: ServedModel) -> Iterator[TestClient]:
    """Client of each backend."""
    with TestClient(create_app([served])) as client:
        yield client


@pytest.fixture(scope="session")
def toy_client() -> Iterator[TestClient]:
    """Client of the toy model, whose outputs are known."""
    served = toy_model()
    with TestClient(create_app([served])) as client:
        yield client
    served.engine.close()


@pytest.fixture(scope="session")
def live(served: ServedModel) -> Iterator[str]:
    """The address of each backend on a socket."""
    with running_server(create_app([served])) as address:
        yield address


@contextmanager
def running_server(app: ASGIApp) -> Iterator[str]:
    """Run a uvicorn server on a thread, and yield its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for a condition that another thread makes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} seconds"
        time.sleep(0.005)


Build = Callable[..., ServedModel]


@pytest.fixture
def build() -> Iterator[Build]:
    """Build toy models, each with an engine of these options."""
    models: list[ServedModel] = []

    def build(name: str = "toy", **options: Any) -> ServedModel:
        models.append(toy_model(ToyEngine(**options), name))
        return models[-1]

    yield build
    for model in models:
        model.engine.close()


def toy_engine(model: ServedModel) -> ToyEngine:
    assert isinstance(model.engine, ToyEngine)
    return model.engine
