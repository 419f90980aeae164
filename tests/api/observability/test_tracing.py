"""Traces: one span per completions request, as a child of the client's span."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.testclient import TestClient

from api.app import create_app
from api.observability.tracing import Tracing
from tests.api.conftest import Build
from tests.api.http_client import post

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def traced_client(build: Build) -> tuple[TestClient, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app([build()], observers=[Tracing(provider).export])
    return TestClient(app), exporter


def test_span_of_a_completion(build: Build) -> None:
    client, exporter = traced_client(build)
    response = post(client, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}, user="mallory")
    [span] = exporter.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None and f"{span.parent.span_id:016x}" == PARENT
    expected = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.request.model": "toy",
        "gen_ai.response.id": response.json()["id"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 4,
        "http.response.status_code": 200,
    }
    assert span.attributes is not None
    assert {name: span.attributes[name] for name in expected} == expected
    assert span.end_time >= span.start_time and span.status.status_code is StatusCode.UNSET
    assert "mallory" not in str(span.attributes)


def test_span_of_a_refused_request_has_the_error(build: Build) -> None:
    client, exporter = traced_client(build)
    post(client, model="other")
    [span] = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None and span.attributes["error.type"] == "model_not_found"


def test_probes_have_no_span(build: Build) -> None:
    client, exporter = traced_client(build)
    client.get("/health")
    client.get("/metrics")
    assert exporter.get_finished_spans() == ()
