"""Engines with quantized weights and an fp8 KV cache: bitwise identity, and agreement with the
reference.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax
import jax.numpy as jnp
import pytest

from conformance.parity.engine import PROPERTIES
from conformance.parity.harness.backends import Backend, IdsOnlyTokenizer
from conformance.parity.harness.property import EngineProperty
from conformance.parity.harness.requests import RequestSpec, collect
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.settings import Settings
from reference.bundle import Bundle
from reference.model import checkpoint
from tests.goldens import GOLDENS
from tests.jax_backend.conftest import TIGHT, TIGHT_CONTEXT
from tests.jax_backend.properties import check_property

TINY = Settings(batch_sizes=(2, 4), num_pages=8, page_size=32, prefill_sizes=(16,), segment_size=16)
LARGE = Settings(
    batch_sizes=(2, 4), num_pages=160, page_size=32, prefill_sizes=(16, 64), segment_size=16
)
BY_NAME = {p.name: p for p in PROPERTIES}
MODELS = ["int8_packed", "int8", "int8_static", "fp8", "fp8_static", "fp8_block"]


@contextmanager
def backend_of(name: str, kv_dtype: str, is_tiny: bool = False) -> Iterator[Backend]:
    """Start two engines. is_tiny: only the one whose cache has a single context."""
    directory = GOLDENS / f"quantized_{name}"
    loaded = checkpoint.load(directory, kv_dtype=kv_dtype)
    spec = Bundle.from_parts(loaded, IdsOnlyTokenizer(48, frozenset({0, 1, 2})))

    def engine(settings: Settings, context: int | None = None) -> JaxEngine:
        model = load(directory, context=context, kv_dtype=kv_dtype)
        return JaxEngine(model, loaded.eos_token_ids, spec.vocabulary, settings)

    with ExitStack() as stack:
        tight = engine(TINY if is_tiny else TIGHT, TIGHT_CONTEXT)
        stack.callback(tight.close)
        large = tight if is_tiny else engine(LARGE)
        stack.callback(large.close)
        yield Backend(spec, large, tight, lambda: tight.scheduler.num_preemptions, lambda: None)


def check(tested: EngineProperty, name: str, kv_dtype: str, share: float) -> None:
    with backend_of(name, kv_dtype) as backend:
        assert check_property(tested.bind(backend), share).examples


def test_results_are_bitwise_identical() -> None:
    """Alone, in a batch, with a cached prompt and after preemption; int8 inputs, an fp8 cache."""
    with backend_of("int8", "fp8_e4m3", is_tiny=True) as backend:
        assert isinstance(backend.large_cache, JaxEngine)
        pages = jax.tree.leaves(backend.large_cache.executor.layers)
        assert {leaf.dtype for leaf in pages} == {jnp.dtype(jnp.float8_e4m3fn)}
        check_property(BY_NAME["engine/batch_invariance"].bind(backend), 0.1)
        request = RequestSpec(list(range(40)) * 2, {"seed": 7, "max_tokens": 8, "logprobs": 3})
        miss, hit = (collect(backend.large_cache, [request.request])[0] for _ in range(2))
        assert miss.prompt and hit.prompt and hit.prompt.cached_tokens == 64
        assert miss.content == hit.content


@pytest.mark.lane
@pytest.mark.parametrize("kv_dtype", ["auto", "fp8_e4m3"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tested", PROPERTIES, ids=lambda p: p.name)
def test_engine_property(tested: EngineProperty, name: str, kv_dtype: str) -> None:
    check(tested, name, kv_dtype, 0.5)
