"""`POST /v1/explain`: keys, invalid bodies, limits, disconnects; a server without it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.app import create_app
from api.engine import ServedModel
from explain import endpoint
from explain.engine import ExplainedModel, check_size
from explain.extension import ExplainExtension
from explain.limits import MAX_CONCURRENCY, MAX_TOKENS, MAX_TOP
from reference.bundle import EMBEDDED, Bundle
from tests.api.conftest import wait_until
from tests.api.http_client import Json, RawRequest, error_locations
from tests.explain.conftest import BODY, PATH, explained_app, post, tokens

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PATH),
        ("GET", "/"),
        ("GET", "/explain/page.js"),
        ("GET", "/explain/specification.json"),
    ],
)
def test_disabled_by_default(reference_served: ServedModel, method: str, path: str) -> None:
    client = TestClient(create_app([reference_served]))
    response = client.request(method, path, json=BODY)
    assert response.status_code == 404 and response.json() == {"detail": "Not Found"}
    assert PATH not in client.get("/openapi.json").json()["paths"]


def test_package_is_not_imported_unless_enabled() -> None:
    code = "import sys, api.__main__; print([m for m in sys.modules if m.startswith('explain')])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "[]\n", result.stderr


@pytest.mark.parametrize(
    ("body", "kind", "loc"),
    [
        ({"top": 0}, "greater_than_equal", ["top"]),
        ({"top": MAX_TOP + 1}, "less_than_equal", ["top"]),
        ({"top": True}, "int_type", ["top"]),
        ({"top": 2.5}, "int_from_float", ["top"]),
        ({"top": None}, "int_type", ["top"]),
        ({"logits": "perhaps"}, "bool_parsing", ["logits"]),
        ({"forced": 5}, "list_type", ["forced"]),
        ({"forced": [1, -1]}, "greater_than_equal", ["forced", 1]),
        ({"forced": [1536]}, "less_than", ["forced", 0]),
        ({"forced": [5] * (MAX_TOKENS + 1)}, "too_long", ["forced"]),
        ({"temperature": 3}, "less_than_equal", ["temperature"]),
        ({"prompt": None}, "prompt_type", ["prompt"]),
        ({"logprobs": 21}, "less_than_equal", ["logprobs"]),
        ({"model": 3}, "string_type", ["model"]),
    ],
    ids=str,
)
def test_invalid_field_is_named(client: TestClient, body: Json, kind: str, loc: list[Any]) -> None:
    assert error_locations(post(client, **body)) == [(kind, loc)]


def test_errors_of_all_fields_are_listed(client: TestClient) -> None:
    locations = error_locations(post(client, top=0, temperature=9, forced=[9999]))
    assert {loc[0] for _, loc in locations} == {"top", "temperature", "forced"}


def test_unknown_fields(client: TestClient, reference_served: ServedModel) -> None:
    response = post(client, best_of=2, top=3)
    assert response.headers["x-ignored-parameters"] == "best_of"
    strict = TestClient(explained_app(reference_served, strict=True))
    assert error_locations(post(strict, best_of=2, top=3)) == [("extra_forbidden", ["best_of"])]
    assert post(strict, top=3, logits=False, forced=[]).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"prompt": ["a", "b"]}, "too_many_prompts", "prompt"),
        ({"prompt": [[5], [6]]}, "too_many_prompts", "prompt"),
        ({"n": 4, "max_tokens": MAX_TOKENS // 4 + 1}, "response_too_large", "max_tokens"),
        ({"n": 2, "max_tokens": None}, "response_too_large", "max_tokens"),
        ({"prompt": ""}, None, None),
        ({"prompt": [5] * 512}, "context_length_exceeded", "prompt"),
        ({"data": {"image": ["data:,x"]}}, "text_only_model", "data"),
        ({"response_format": {"type": "regex", "regex": "("}}, "unsupported_response_format", None),
    ],
    ids=str,
)
def test_requests_that_cannot_be_served(
    client: TestClient, body: Json, code: str | None, param: str | None
) -> None:
    response = post(client, **body)
    if code is None:
        assert response.status_code == 200
        return
    error = response.json()["error"]
    assert response.status_code == 400 and error["code"] == code
    assert error["param"] == (param or "response_format")


def test_logits_are_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_LOGITS", 4 * 1536)
    assert post(client, logits=True, max_tokens=4).status_code == 200
    error = post(client, logits=True, max_tokens=5).json()["error"]
    assert (error["code"], error["param"]) == ("response_too_large", "logits")
    assert post(client, max_tokens=5).status_code == 200


def test_keys_and_models(reference_served: ServedModel) -> None:
    locked = TestClient(explained_app(reference_served, keys=["right"]))
    assert post(locked).status_code == post(locked, {"xi-api-key": "no"}).status_code == 401
    headers = {"Authorization": "Bearer right"}
    assert post(locked, headers).status_code == 200
    assert post(locked, headers, model="no").json()["error"]["code"] == "model_not_found"
    for path in "/", "/explain/specification.json":
        assert locked.get(path).status_code == 200  # they have no secrets


def test_limits_of_completions_apply(reference_served: ServedModel) -> None:
    small = TestClient(explained_app(reference_served, max_body_bytes=200, max_concurrency=2))
    assert post(small, prompt="a" * 300).status_code == 413
    assert post(small, n=3).json()["error"]["code"] == "too_many_sequences"
    values = TestClient(explained_app(reference_served, max_response_values=3))
    assert post(values).json()["error"]["code"] == "response_too_large"
    small.app.state.service.draining = True  # type: ignore[attr-defined]
    assert post(small).json()["error"]["code"] == "draining"


def raw(**body: Any) -> RawRequest:
    return RawRequest([json.dumps(BODY | body).encode()], path=PATH)


def first_token(message: Any) -> bool:
    return b"explain.token" in message.get("body", b"")


def test_disconnect_aborts_the_request(app: Starlette, reference_served: ServedModel) -> None:
    request = RawRequest(
        [json.dumps(BODY | {"max_tokens": 400}).encode()], path=PATH, disconnect_when=first_token
    )
    asyncio.run(request.run(app))
    sent = request.body.count(b'"explain.token"')
    assert 1 <= sent < 100
    service = app.state.service
    assert service.in_flight == 0
    [engine] = [model.engine for model in models_of(app).values()]
    wait_until(lambda: engine.stats().running == engine.stats().waiting == 0)


def models_of(app: Starlette) -> dict[str, ExplainedModel]:
    [route] = [route for route in app.routes if getattr(route, "path", "") == PATH]
    return dict(route.app.models)  # type: ignore[attr-defined]


def test_concurrency_is_bounded(app: Starlette) -> None:
    """A request beyond the limit gets a 429, which names a time; later it is served."""

    async def overload() -> tuple[list[int | None], RawRequest]:
        requests = [raw(n=1, max_tokens=60) for _ in range(MAX_CONCURRENCY)]
        tasks = [asyncio.create_task(request.run(app)) for request in requests]
        while app.state.service.in_flight < MAX_CONCURRENCY:
            await asyncio.sleep(0.001)
        late = raw()
        await late.run(app)
        await asyncio.gather(*tasks)
        return [request.status for request in requests], late

    statuses, late = asyncio.run(overload())
    assert statuses == [200] * MAX_CONCURRENCY and late.status == 429
    [start] = [m for m in late.messages if m["type"] == "http.response.start"]
    assert int(dict(start["headers"])[b"retry-after"]) >= 1
    assert post(TestClient(app)).status_code == 200


def test_timeout_ends_the_stream_with_an_error(client: TestClient) -> None:
    response = post(client, {"x-request-timeout": "0.02"}, max_tokens=400)
    assert response.status_code == 200 and '"request_timeout"' in response.text
    assert post(client, {"x-request-timeout": "x"}).json()["error"]["code"] == "invalid_timeout"


def test_model_is_loaded_by_the_first_request(reference_served: ServedModel, model: Bundle) -> None:
    loads = []
    explained = ExplainedModel(reference_served, lambda: loads.append(1) or model)  # type: ignore
    client = TestClient(
        create_app(
            [reference_served], extensions=[ExplainExtension({reference_served.name: explained})]
        )
    )
    assert client.get("/").status_code == 200 and loads == []
    assert tokens(client) == tokens(client) and loads == [1]
    explained.close()
    assert post(client).status_code == 200  # an error after the start of the stream
    assert "engine_down" in post(client).text


def test_large_model_is_refused_by_name(tmp_path: Path) -> None:
    check_size("tiny", EMBEDDED / "text")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(5 * 2**30)
    with pytest.raises(ValueError, match="--explain: .*'large'"):
        check_size("large", tmp_path)


def test_log_and_metrics_do_not_count_completions(client: TestClient) -> None:
    before = client.get("/metrics").text.count("completions_requests_total{")
    post(client)
    assert client.get("/metrics").text.count("completions_requests_total{") == before


def test_document_describes_the_endpoint(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]
    schema = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
    completion = document["components"]["schemas"]["CompletionRequest"]["properties"]
    assert schema["properties"].keys() - completion.keys() == {"top", "logits", "forced"}
    assert schema["properties"]["top"]["maximum"] == MAX_TOP
    assert "top" not in completion
