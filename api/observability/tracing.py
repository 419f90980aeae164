"""OpenTelemetry: one span per completions request. Needs the extra `otel`.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from api.observability.record import RequestRecord


def otlp_provider(endpoint: str) -> TracerProvider:
    """Return a provider that exports spans by OTLP over HTTP. endpoint: the URL of the collector,
    like http://127.0.0.1:4318/v1/traces.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": "completions-spec"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


class Tracing:
    """Exports the spans of requests that have ended, as children of the span in `traceparent`."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer("completions-spec")

    def export(self, record: RequestRecord) -> None:
        """Export the span of a request, if it is for completions."""
        if not record.is_completion:
            return
        span = self._tracer.start_span(
            f"text_completion {record.model}".rstrip(),
            context=propagate.extract(dict(record.headers)),
            kind=trace.SpanKind.SERVER,
            start_time=record.start_ns,
            attributes=span_attributes(record),
        )
        if not record.succeeded:
            span.set_status(trace.StatusCode.ERROR, record.error)
        span.end(record.start_ns + int(record.duration * 1e9))

    def close(self) -> None:
        """Export what is left."""
        self.provider.shutdown()


def span_attributes(record: RequestRecord) -> dict[str, Any]:
    """Return the attributes of a span. Times are in seconds."""
    attributes = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.request.model": record.model or None,
        "gen_ai.response.id": record.completion_id,
        "gen_ai.response.finish_reasons": sorted(record.finish_reasons) or None,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.server.time_to_first_token": record.ttft,
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "error.type": record.error,
        "completions.request_id": record.request_id,
        "completions.queue_time": record.queue,
        "completions.prefill_time": record.prefill,
    }
    return {name: value for name, value in attributes.items() if value is not None}
