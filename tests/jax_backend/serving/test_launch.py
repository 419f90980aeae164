"""The engine behind the endpoint, when it fails, and when it is told to stop."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import Served
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Settings
from reference.bundle import EMBEDDED, Bundle
from tests.api.conftest import until
from tests.api.sending import PATH

SETTINGS = Settings(widths=(2,), pages=16, page_size=32, chunks=(16,))
ASKED = {"model": "tiny", "prompt": "Once upon a time", "temperature": 0, "max_tokens": 60}


@pytest.fixture
def engine(model: Bundle) -> Iterator[JaxEngine]:
    engine = JaxEngine(load(EMBEDDED / "text"), (2,), model.vocabulary, SETTINGS)
    yield engine
    engine.close()


@pytest.fixture
def client(model: Bundle, engine: JaxEngine) -> Iterator[TestClient]:
    served = Served(
        name="tiny",
        engine=engine,
        tokenizer=model.tokenizer,
        vocab_size=model.vocab_size,
        context=model.context,
    )
    with TestClient(create_app([served]), raise_server_exceptions=False) as client:
        yield client


def fail_after(engine: JaxEngine, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device breaks after so many steps."""
    start = engine.device.start
    left = [steps]

    def breaking(plan: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("a secret of the device")
        return start(plan)

    monkeypatch.setattr(engine.device, "start", breaking)


def test_an_engine_that_fails_ends_a_stream_with_an_error(
    client: TestClient, engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/health").status_code == 200
    fail_after(engine, 10, monkeypatch)
    *events, error, done, rest = client.post(PATH, json=ASKED | {"stream": True}).text.split("\n\n")
    assert len(events) >= 5 and "finish_reason" in events[0]
    assert '"error"' in error and "secret" not in error
    assert (done, rest) == ("data: [DONE]", "")
    health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "down")
    refused = client.post(PATH, json=ASKED)
    assert refused.status_code == 503 and "retry-after" in refused.headers


def test_an_engine_that_fails_ends_a_whole_answer_with_an_error(
    client: TestClient, engine: JaxEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_after(engine, 10, monkeypatch)
    response = client.post(PATH, json=ASKED)
    assert response.status_code >= 500 and "secret" not in response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert client.get("/health").status_code == 503


def test_a_text_that_has_ended_frees_its_pages(client: TestClient, engine: JaxEngine) -> None:
    """Ended by a stop string, which the engine knows nothing of."""
    answer = client.post(PATH, json=ASKED | {"stop": ["boy"], "max_tokens": 400}).json()
    assert answer["choices"][0]["stop_reason"] == "boy"
    assert client.post(PATH, json=ASKED).status_code == 200
    pool = engine.scheduler.pool
    until(lambda: pool.available == pool.count)  # the engine lets go after it has told
