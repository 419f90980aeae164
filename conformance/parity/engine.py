"""Whole requests through an engine, with all parameters at once."""

from hypothesis import strategies as st

from conformance.parity.harness import agreement, invariance
from conformance.parity.harness.backends import Backend
from conformance.parity.harness.property import Coverage, EngineProperty
from conformance.parity.harness.requests import RequestSpec, collect, request_specs


def requests(backend: Backend, example: RequestSpec, coverage: Coverage) -> None:
    """Tokens, finish reasons and log-probabilities are ones that the reference could give."""
    [output] = collect(backend.large_cache, [example.request])
    agreement.check_output(backend.bundle, example.request, output, coverage)


def batch_invariance(backend: Backend, examples: list[RequestSpec], coverage: Coverage) -> None:
    """Results are bitwise identical alone, in a batch, after a cache hit and after preemption."""
    before = backend.preemptions()
    requests = [example.request for example in examples]
    coverage.counts["requests"] += invariance.count_identical(
        backend.large_cache, backend.small_cache, requests
    )
    coverage.counts["preemptions"] += backend.preemptions() - before


def any_request(backend: Backend) -> st.SearchStrategy[RequestSpec]:
    config = backend.bundle.checkpoint.config
    return request_specs(config.vocab_size, vision=config.vision)


def any_requests(backend: Backend) -> st.SearchStrategy[list[RequestSpec]]:
    config = backend.bundle.checkpoint.config
    max_prompt, max_output = (100 if config.vision else 160), 90
    example = request_specs(config.vocab_size, max_prompt, max_output, config.vision)
    return st.lists(example, min_size=2, max_size=8)


PROPERTIES = (
    EngineProperty("engine/requests", any_request, requests),
    EngineProperty("engine/batch_invariance", any_requests, batch_invariance),
)
