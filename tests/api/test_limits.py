"""Who may ask, how much, and what happens when somebody goes away or something breaks."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import engine as engine_module
from api.app import create_app
from api.engine import Served
from tests.api.asgi import Call
from tests.api.conftest import until
from tests.api.sending import PATH, events, post
from tests.api.toy import ToyEngine, toy

Build = Callable[..., Served]


@pytest.fixture
def build() -> Iterator[Build]:
    """A toy of its own."""
    built: list[Served] = []

    def build(name: str = "toy", **options: Any) -> Served:
        built.append(toy(ToyEngine(**options), name))
        return built[-1]

    yield build
    for served in built:
        served.engine.close()


def body(**params: Any) -> bytes:
    return json.dumps({"model": "toy", "prompt": "w", "temperature": 0} | params).encode()


def engine_of(served: Served) -> ToyEngine:
    assert isinstance(served.engine, ToyEngine)
    return served.engine


# Keys


@pytest.fixture
def locked(build: Build) -> TestClient:
    return TestClient(create_app([build()], keys=["key-1", "kéy-2"], max_body_bytes=100))


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key-1"},
        {"authorization": "bearer key-1"},
        {"xi-api-key": "key-1"},
        {"Authorization": "Bearer kéy-2".encode()},
        {"xi-api-key": "kéy-2".encode()},
        {"Authorization": "Bearer wrong", "xi-api-key": "key-1"},
        {"Authorization": "Bearer key-1", "x-deepinfra-source": "web"},
    ],
    ids=str,
)
def test_right_keys(locked: TestClient, headers: Any) -> None:
    for path in "/v1/models", "/v1/models/toy", "/v1/openai/models":
        assert locked.get(path, headers=as_bytes(headers)).status_code == 200
    assert locked.post(PATH, content=body(), headers=as_bytes(headers)).status_code == 200


def as_bytes(headers: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    return [(k.encode(), v if isinstance(v, bytes) else v.encode()) for k, v in headers.items()]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "key-1"},
        {"Authorization": "Basic key-1"},
        {"Authorization": "Bearer key-1x"},
        {"xi-api-key": ""},
        {"xi-api-key": "KEY-1"},
        {"Authorization": "Bearer \xff"},
    ],
    ids=str,
)
def test_wrong_keys(locked: TestClient, headers: dict[str, str]) -> None:
    """Before anything else: not even the size or the syntax of the body matters."""
    sent = as_bytes(headers)
    answers = [locked.get(path, headers=sent) for path in ("/v1/models", "/v1/models/toy")]
    answers += [locked.post(PATH, content=x, headers=sent) for x in (body(), b"{", b"x" * 200)]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.json() == {"detail": "Not authenticated"}
        assert answer.headers["www-authenticate"] == "Bearer"


def test_no_key_is_needed_to_look(locked: TestClient) -> None:
    for path in "/health", "/openapi.json":
        assert locked.get(path).status_code == 200
    assert locked.get(PATH).status_code == 405
    assert locked.get("/nothing").status_code == 404


def test_the_body_of_a_stranger_is_not_read(build: Build) -> None:
    call = Call([b"x", b"y"])
    asyncio.run(call.run(create_app([build()], keys=["k"])))
    assert (call.status, call.read) == (401, 0)


# Sizes


def test_413_by_what_is_announced(build: Build) -> None:
    for announced in "101", "1" * 5000:
        call = Call([b"{}"], headers={"content-length": announced})
        asyncio.run(call.run(create_app([build()], max_body_bytes=100)))
        assert (call.status, call.read) == (413, 0)
        assert json.loads(call.body)["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("headers", [{}, {"content-length": "5"}, {"content-length": "five"}])
def test_413_by_what_arrives(build: Build, headers: dict[str, str]) -> None:
    call = Call([b" " * 60, b" " * 60, b" " * 60], headers=headers)
    asyncio.run(call.run(create_app([build()], max_body_bytes=100)))
    assert (call.status, call.read) == (413, 2)


def test_a_body_of_exactly_the_limit(build: Build) -> None:
    client = TestClient(create_app([build()], max_body_bytes=100))
    sent = body().ljust(100)
    assert client.post(PATH, content=sent).status_code == 200
    assert client.post(PATH, content=sent + b" ").status_code == 413


def test_a_body_that_never_ends(build: Build) -> None:
    call = Call([b'{"model"'], ends=False)
    asyncio.run(call.run(create_app([build()])))
    assert call.sent == []


# Requests in flight


def test_429(build: Build) -> None:
    """Two may run; the third is told to come again; another model has room of its own."""
    served, other = build(pause=0.01), build("other")
    client = TestClient(create_app([served, other], max_concurrency=2))
    answers: list[Any] = []
    running = [
        threading.Thread(target=lambda: answers.append(post(client, prompt="~"))) for _ in range(2)
    ]
    for thread in running:
        thread.start()
    until(lambda: len(engine_of(served).requests) == 2)
    for streamed in False, True:
        refused = post(client, stream=streamed)
        assert refused.status_code == 429
        assert refused.json()["error"]["message"] == "Rate limited"
        assert int(refused.headers["retry-after"]) > 0
    assert post(client, model="other").status_code == 200
    for thread in running:
        thread.join()
    assert [a.status_code for a in answers] == [200, 200]
    assert post(client).status_code == 200


def test_a_request_that_is_refused_frees_its_place(build: Build) -> None:
    app = create_app([build()], max_concurrency=1)
    client = TestClient(app)
    for _ in range(3):
        assert post(client, prompt=[5] * 200).status_code == 400
        assert post(client, n=9).status_code == 422
        assert post(client, stream=True).status_code == 200
    assert app.state.service.in_flight == 0


def test_draining(build: Build) -> None:
    """New requests are turned away; the one that runs is finished."""
    served = build(pause=0.01)
    app = create_app([served])
    client = TestClient(app)
    answers: list[Any] = []
    running = threading.Thread(target=lambda: answers.append(post(client, prompt="~")))
    running.start()
    until(lambda: bool(engine_of(served).requests))
    app.state.service.draining = True
    refused = post(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert int(refused.headers["retry-after"]) > 0
    assert client.get("/health").status_code == 503
    assert client.get("/health").json()["status"] == "draining"
    running.join()
    assert answers[0].status_code == 200


def test_an_engine_that_is_down(build: Build) -> None:
    served, other = build(), build("other")
    engine_of(served).healthy = False
    client = TestClient(create_app([served, other]))
    refused = post(client)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_down")
    assert "retry-after" in refused.headers
    assert post(client, model="other").status_code == 200
    health = client.get("/health")
    assert health.status_code == 503
    assert health.json() == {"status": "down", "models": {"toy": "down", "other": "ok"}}


@pytest.mark.parametrize("streamed", [False, True])
def test_an_engine_that_dies_in_silence(
    build: Build, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    monkeypatch.setattr(engine_module, "PATIENCE", 0.05)
    served = build(mute=True)
    engine_of(served).submit = dying(engine_of(served))  # type: ignore[method-assign]
    answer = post(TestClient(create_app([served])), stream=streamed)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_down")


def dying(engine: ToyEngine) -> Callable[..., int]:
    submit = engine.submit

    def submit_and_die(*args: Any) -> int:
        engine.healthy = False
        return submit(*args)

    return submit_and_die


# What breaks


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_before_the_first_token_has_its_status(
    build: Build, rounds: int, streamed: bool
) -> None:
    client = TestClient(create_app([build(fail_after=rounds)]))
    answer = post(client, stream=streamed, echo=True)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


def test_an_error_after_the_first_token(build: Build) -> None:
    client = TestClient(create_app([build(fail_after=3)]))
    assert post(client).status_code == 500
    answer = post(client, stream=True)
    assert answer.status_code == 200
    *texts, last = events(answer.text)
    assert [e["choices"][0]["text"] for e in texts] == ["x", "y"]
    assert set(last) == {"error"} and last["error"]["code"] == "internal_error"
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert "secret" not in answer.text


def test_a_bug_is_a_500_in_the_shape_of_the_others(build: Build) -> None:
    served = build()
    engine_of(served).submit = None  # type: ignore[method-assign,assignment]
    client = TestClient(create_app([served]), raise_server_exceptions=False)
    answer = post(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


def test_two_models_of_one_name(build: Build) -> None:
    with pytest.raises(ValueError, match="same name"):
        create_app([build(), build()])


def test_names_with_slashes(build: Build) -> None:
    client = TestClient(create_app([build("org/model"), build("b")]))
    for prefix in "/v1/models", "/v1/openai/models":
        assert client.get(f"{prefix}/org/model").json()["id"] == "org/model"
        assert [m["id"] for m in client.get(prefix).json()["data"]] == ["org/model", "b"]
    assert post(client, model="org/model").json()["model"] == "org/model"


# Who goes away


@pytest.mark.parametrize("prompt", ["~", ["~", "~", "w"]])
def test_leaving_a_stream_stops_the_engine(build: Build, prompt: Any) -> None:
    served = build(pause=0.02)
    engine = engine_of(served)
    call = Call([body(prompt=prompt, stream=True)], leave_when=third_token())
    asyncio.run(call.run(app := create_app([served])))
    until(lambda: engine.idle)
    assert max(engine.tokens.values()) <= 5
    assert b"[DONE]" not in call.body
    assert app.state.service.in_flight == 0


def third_token() -> Callable[[Any], bool]:
    seen = []

    def leave(message: Any) -> bool:
        seen.append(b"~" in message.get("body", b""))
        return sum(seen) >= 3

    return leave


@pytest.mark.parametrize("params", [{}, {"stream": True, "stop": "~" * 99}], ids=str)
def test_leaving_while_nothing_is_sent_stops_the_engine(build: Build, params: Any) -> None:
    """A whole answer, and a stream whose text is held back."""
    served = build(pause=0.02)
    engine, app = engine_of(served), create_app([served])
    call = Call([body(prompt="~", **params)])

    async def leave() -> None:
        while engine.tokens[1] < 3:
            await asyncio.sleep(0.001)
        call.gone.set()

    async def both() -> None:
        await asyncio.gather(call.run(app), leave())

    asyncio.run(both())
    assert call.status in (None, 200) and call.body == b""
    until(lambda: engine.idle)
    assert engine.tokens[1] <= 5
    assert app.state.service.in_flight == 0


def test_a_choice_whose_text_has_ended_is_stopped(build: Build) -> None:
    """Seed 0: choice 0 goes w x y, choice 1 goes x z … and only the first meets the stop string."""
    served = build(pause=0.02)
    client = TestClient(create_app([served]))
    answer = post(client, prompt="a", n=2, seed=0, temperature=1, stop="c")
    assert [c["text"] for c in answer.json()["choices"]] == ["b", ""]
    until(lambda: engine_of(served).idle)
    assert engine_of(served).tokens[1] <= 5


def test_one_choice_ends_by_its_text_and_the_other_goes_on(build: Build) -> None:
    """Strides 1 and 2 from `a`: b c d e …, and c e g i …"""
    served = build(pause=0.01)
    answer = post(
        TestClient(create_app([served])), prompt="a", n=2, seed=0, temperature=1, stop="d"
    )
    assert [c["text"] for c in answer.json()["choices"]] == ["bc", "cegikmoqsuwy"]
    assert answer.json()["usage"]["completion_tokens"] == 3 + 13
    assert engine_of(served).tokens[1] <= 3 + 13 + 2
