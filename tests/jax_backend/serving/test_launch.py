"""The engine behind the endpoint: failures, and sequences that the endpoint aborts."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.settings import Settings
from reference.bundle import EMBEDDED, Bundle
from tests.api.conftest import wait_until
from tests.api.http_client import PATH

SETTINGS = Settings(
    batch_sizes=(2,), num_pages=16, page_size=32, prefill_sizes=(16,), segment_size=16
)
BODY = {"model": "tiny", "prompt": "Once upon a time", "temperature": 0, "max_tokens": 60}


@pytest.fixture
def engine(model: Bundle) -> Iterator[JaxEngine]:
    engine = JaxEngine(load(EMBEDDED / "text"), (2,), model.vocabulary, SETTINGS)
    yield engine
    engine.close()


@pytest.fixture
def client(model: Bundle, engine: JaxEngine) -> Iterator[TestClient]:
    served = ServedModel(
        name="tiny",
        engine=engine,
        tokenizer=model.tokenizer,
        vocabulary=model.vocabulary,
        vocab_size=model.vocab_size,
        context=model.context,
    )
    with TestClient(create_app([served]), raise_server_exceptions=False) as client:
        yield client


def fail_after(engine: JaxEngine, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the executor raise after `steps` steps."""
    start = engine.executor.start
    steps_left = [steps]

    def failing(plan: Any) -> Any:
        steps_left[0] -= 1
        if steps_left[0] < 0:
            raise RuntimeError("a secret of the device")
        return start(plan)

    monkeypatch.setattr(engine.executor, "start", failing)


def test_engine_failure_ends_a_stream_with_an_error(
    client: TestClient, engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/health").status_code == 200
    fail_after(engine, 10, monkeypatch)
    *events, error, done, rest = client.post(PATH, json=BODY | {"stream": True}).text.split("\n\n")
    assert len(events) >= 5 and "finish_reason" in events[0]
    assert '"error"' in error and "secret" not in error
    assert (done, rest) == ("data: [DONE]", "")
    health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "down")
    refused = client.post(PATH, json=BODY)
    assert refused.status_code == 503 and "retry-after" in refused.headers


def test_engine_failure_is_an_error_response(
    client: TestClient, engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after(engine, 10, monkeypatch)
    response = client.post(PATH, json=BODY)
    assert response.status_code >= 500 and "secret" not in response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert client.get("/health").status_code == 503


def test_stop_string_releases_the_pages(client: TestClient, engine: JaxEngine) -> None:
    """The endpoint aborts the request: the engine does not see stop strings."""
    answer = client.post(PATH, json=BODY | {"stop": ["boy"], "max_tokens": 400}).json()
    assert answer["choices"][0]["stop_reason"] == "boy"
    assert client.post(PATH, json=BODY).status_code == 200
    pool = engine.scheduler.pool
    # the last event is emitted before the pages are released
    wait_until(lambda: pool.num_available == pool.num_pages)
