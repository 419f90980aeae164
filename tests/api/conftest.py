"""The toy behind the endpoint, in this process and on a socket; and every backend of the contract's
suite.
"""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import Served
from tests.api.toy import toy


@pytest.fixture(scope="session")
def toy_served() -> Iterator[Served]:
    served = toy()
    yield served
    served.engine.close()


@pytest.fixture(scope="session", params=["toy", "reference", "jax"])
def served(request: pytest.FixtureRequest) -> Served:
    """Any backend. One more joins with a fixture of that name."""
    served: Served = request.getfixturevalue(f"{request.param}_served")
    return served


@pytest.fixture(scope="session")
def client(served: Served) -> Iterator[TestClient]:
    """Of any backend."""
    with TestClient(create_app([served])) as client:
        yield client


@pytest.fixture(scope="session")
def toy_client() -> Iterator[TestClient]:
    """Of the toy, whose answers are known."""
    served = toy()
    with TestClient(create_app([served])) as client:
        yield client
    served.engine.close()


@pytest.fixture(scope="session")
def live(served: Served) -> Iterator[str]:
    """The address of any backend on a socket."""
    with listening(create_app([served])) as address:
        yield address


class listening:
    """A uvicorn server on a thread, as a context: its address."""

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="none")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> str:
        self.thread.start()
        until(lambda: self.server.started)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join()


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that happens on another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
