"""Prometheus metrics: `GET /metrics`.

The names follow those of other engines (`vllm:num_requests_waiting`, `sglang:num_queue_reqs`) in
their stems, with the prefix `completions_`. No label has a value that a client chooses.

Source: https://prometheus.io/docs/practices/naming/
"""

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.engine import ServedModel
from api.observability.record import RequestRecord

BUCKETS = tuple(0.001 * 2**i for i in range(20))  # 1 ms … 524 s
REJECTIONS = (429, 503)
# Name, help, and field of `EngineStats`.
GAUGES = (
    ("requests_running", "Prompts that are being decoded.", "running"),
    ("requests_waiting", "Prompts that wait or are in prefill.", "waiting"),
    ("kv_cache_usage_ratio", "Fraction of the KV cache in use, 0 to 1.", "kv_cache_usage"),
)
COUNTERS = (
    ("preemptions", "Sequences preempted for lack of KV cache.", "preemptions"),
    ("prefix_cache_queries", "Prompt tokens looked up in the cache.", "prefix_cache_queries"),
    ("prefix_cache_hits", "Prompt tokens that were in the cache.", "prefix_cache_hits"),
    ("spec_decode_num_draft_tokens", "Draft tokens that were verified.", "draft_tokens"),
    (
        "spec_decode_num_accepted_tokens",
        "Draft tokens that are in an output.",
        "accepted_draft_tokens",
    ),
)


class EngineCollector(Collector):
    """Reads the statistics of each engine when it is scraped."""

    def __init__(self, served_models: Sequence[ServedModel]) -> None:
        self.served_models = served_models

    def collect(self) -> Iterator[Metric]:
        stats = {model.name: model.engine.stats() for model in self.served_models}
        for name, description, field in GAUGES:
            gauge = GaugeMetricFamily(f"completions_{name}", description, labels=["model_name"])
            for model, values in stats.items():
                gauge.add_metric([model], getattr(values, field))
            yield gauge
        for name, description, field in COUNTERS:
            counter = CounterMetricFamily(f"completions_{name}", description, labels=["model_name"])
            for model, values in stats.items():
                counter.add_metric([model], getattr(values, field))
            yield counter


class Metrics:
    """The metrics of one app, in a registry of their own."""

    def __init__(self, served_models: Sequence[ServedModel]) -> None:
        self.registry = registry = CollectorRegistry()
        registry.register(EngineCollector(served_models))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        Info("completions_build", "Version of the server.", registry=registry).info(
            {"version": package_version(), "python": platform.python_version()}
        )

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(f"completions_{name}", description, labels, registry=registry)

        def histogram(name: str, description: str) -> Histogram:
            return Histogram(
                f"completions_{name}_seconds",
                description,
                ["model_name"],
                buckets=BUCKETS,
                registry=registry,
            )

        self.requests = counter(
            "requests", "Completions requests by status; 499: disconnected.", "model_name", "status"
        )
        self.choices = counter(
            "choices", "Choices by finish reason.", "model_name", "finish_reason"
        )
        self.rejected = counter(
            "requests_rejected", "Completions requests with status 429 or 503.", "reason"
        )
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts.", "model_name")
        self.cached_tokens = counter(
            "prompt_tokens_cached", "Tokens of prompts from the prefix cache.", "model_name"
        )
        self.generation_tokens = counter("generation_tokens", "Tokens of outputs.", "model_name")
        self.ttft = histogram("time_to_first_token", "Time to the first token of a request.")
        self.latency = histogram("inter_token_latency", "Time between two tokens of a choice.")
        self.e2e = histogram("e2e_request_latency", "Time to the last byte of a response.")
        self.queue = histogram("request_queue_time", "Time in the queue of the engine.")
        self.prefill = histogram("request_prefill_time", "Time of the prefill.")

    def observe(self, record: RequestRecord) -> None:
        """Count a request that has ended, if it is for completions. The histograms have successful
        ones only, except for the latency between tokens.
        """
        if not record.is_completion:
            return
        name = record.model
        self.requests.labels(name, str(record.status)).inc()
        if record.status in REJECTIONS and record.error is not None:
            self.rejected.labels(record.error).inc()
        if not name:
            return
        self.prompt_tokens.labels(name).inc(record.prompt_tokens)
        self.cached_tokens.labels(name).inc(record.cached_tokens)
        self.generation_tokens.labels(name).inc(record.completion_tokens)
        for reason, count in record.finish_reasons.items():
            self.choices.labels(name, reason).inc(count)
        if record.succeeded:
            self.e2e.labels(name).observe(record.duration)
            times = (
                (self.ttft, record.ttft),
                (self.queue, record.queue),
                (self.prefill, record.prefill),
            )
            for histogram, seconds in times:
                if seconds is not None:
                    histogram.labels(name).observe(seconds)


def package_version() -> str:
    """Return the version of the installed package; "unknown" in a folder that is not installed."""
    try:
        return version("completions-spec")
    except PackageNotFoundError:
        return "unknown"
