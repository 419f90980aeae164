"""Metrics: every number can be worked out by hand from the requests of the toy model."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import create_app
from api.observability.metrics import GAUGES
from tests.api.conftest import Build
from tests.api.http_client import PATH, post, stream
from tests.api.toy import toy_model

HISTOGRAMS = (
    "time_to_first_token",
    "e2e_request_latency",
    "request_queue_time",
    "request_prefill_time",
)


def scrape(client: TestClient) -> dict[str, float]:
    """Return every sample, by name and labels: `name{label="value"}`."""
    text = client.get("/metrics").text
    return {
        sample.name.removeprefix("completions_")
        + "".join(f"[{value}]" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_of_one_request(build: Build) -> None:
    """The prompt "w" has two tokens, and its output "xyz" has four with `</s>`."""
    client = TestClient(create_app([build()]))
    assert post(client).status_code == 200
    values = scrape(client)
    assert values["requests_total[toy][200]"] == 1
    assert values["choices_total[stop][toy]"] == 1
    assert values["prompt_tokens_total[toy]"] == 2
    assert values["generation_tokens_total[toy]"] == 4
    assert values["inter_token_latency_seconds_count[toy]"] == 3
    assert all(values[f"{name}_seconds_count[toy]"] == 1 for name in HISTOGRAMS)
    assert values["requests_running[toy]"] == values["kv_cache_usage_ratio[toy]"] == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.integers(1, 3)), max_size=6))
@settings(max_examples=20)
def test_histograms_count_requests(requests: list[tuple[bool, int, int]]) -> None:
    served = toy_model()
    client = TestClient(create_app([served]))
    for streamed, prompts, n in requests:
        send = stream if streamed else post
        send(client, prompt=["w"] * prompts, n=n)
    values = scrape(client)
    served.engine.close()
    count = len(requests)
    assert values.get("requests_total[toy][200]", 0) == count
    assert all(values.get(f"{name}_seconds_count[toy]", 0) == count for name in HISTOGRAMS)
    sequences = sum(prompts * n for _, prompts, n in requests)
    assert values.get("choices_total[stop][toy]", 0) == sequences
    assert values.get("inter_token_latency_seconds_count[toy]", 0) == 3 * sequences


def test_failed_requests_are_in_no_histogram(build: Build) -> None:
    client = TestClient(create_app([build(fail_after=2)]), raise_server_exceptions=False)
    assert post(client).status_code == 500
    assert post(client, top_p=7).status_code == 422
    assert post(client, model="other").status_code == 404
    values = scrape(client)
    statuses = {k: v for k, v in values.items() if k.startswith("requests_total")}
    assert statuses == {
        "requests_total[toy][500]": 1,
        "requests_total[][422]": 1,
        "requests_total[][404]": 1,
    }
    assert not any(values.get(f"{name}_seconds_count[toy]") for name in HISTOGRAMS)


def test_rejections_have_a_reason(build: Build) -> None:
    app = create_app([build()], max_concurrency=1)
    client = TestClient(app)
    [handle] = app.state.service.handles.values()
    with handle.admission.admit("", 1, 1):
        assert post(client).status_code == 429
    app.state.service.draining = True
    assert post(client).status_code == 503
    values = scrape(client)
    assert values["requests_rejected_total[rate_limited]"] == 1
    assert values["requests_rejected_total[draining]"] == 1


def test_labels_have_no_value_of_a_client(build: Build) -> None:
    client = TestClient(create_app([build()], keys=["secret"]))
    headers = {"xi-api-key": "secret", "x-request-id": "chosen"}
    post(client, headers=headers, user="mallory", prompt="hidden", model="toy")
    post(client, headers=headers, model="invented")
    client.post(PATH + "/invented", headers=headers)
    text = client.get("/metrics").text
    for value in "secret", "chosen", "mallory", "hidden", "invented":
        assert value not in text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics"),
    ],
)
def test_format_follows_accept(build: Build, accept: str, content_type: str) -> None:
    client = TestClient(create_app([build()], keys=["key"]))
    response = client.get("/metrics", headers={"accept": accept})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(content_type)


def test_engines_report_every_gauge(reference_served: Any, jax_served: Any) -> None:
    for served in reference_served, jax_served:
        client = TestClient(create_app([served]))
        before = scrape(client)
        body = {"model": served.name, "prompt": "Once upon a time", "max_tokens": 3}
        assert client.post(PATH, json=body).status_code == 200
        values = scrape(client)
        for name, _, _ in GAUGES:
            assert values[f"{name}[{served.name}]"] == 0
        queries = f"prefix_cache_queries_total[{served.name}]"
        assert values[queries] - before[queries] == 5
        assert 0 < values[f"request_prefill_time_seconds_sum[{served.name}]"] < 60


def test_draft_tokens_are_counted(reference_served: Any, jax_served: Any) -> None:
    """The output repeats itself. The reference has no drafts."""
    for served in reference_served, jax_served:
        client = TestClient(create_app([served]))
        before = scrape(client)
        body = {
            "model": served.name,
            "prompt": "ha ha ha",
            "max_tokens": 40,
            "response_format": {"type": "regex", "regex": "(ha ){50}"},
        }
        assert client.post(PATH, json=body).status_code == 200
        values = scrape(client)
        drafted, accepted = (
            values[name] - before[name]
            for kind in ("draft", "accepted")
            for name in [f"spec_decode_num_{kind}_tokens_total[{served.name}]"]
        )
        if served is reference_served:
            assert drafted == accepted == 0
        else:
            assert 0 < accepted <= drafted
