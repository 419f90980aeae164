"""Engines that tests share. Each is compiled once."""

from collections.abc import Iterator

import jax
import pytest

from api.engine import ServedModel
from conformance.parity.harness.backends import Backend, IdsOnlyTokenizer
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.settings import Settings
from reference.bundle import Bundle
from reference.model import checkpoint
from tests.goldens import GOLDENS

SMALL = Settings(
    batch_sizes=(1, 2, 4), num_pages=160, page_size=32, prefill_sizes=(16, 64), segment_size=16
)
TIGHT_CONTEXT = 256
TIGHT = Settings(
    batch_sizes=(2, 4), num_pages=8, page_size=32, prefill_sizes=(16, 64), segment_size=16
)
VLM = Settings(
    batch_sizes=(1, 4), num_pages=160, page_size=32, prefill_sizes=(64,), segment_size=16
)
TIGHT_VLM = Settings(
    batch_sizes=(4,),
    num_pages=8,
    page_size=32,
    prefill_sizes=(64,),
    segment_size=16,
    image_batch_sizes=(1,),
)


jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def spec() -> Bundle:
    return Bundle.from_parts(
        checkpoint.load(GOLDENS / "gqa"), IdsOnlyTokenizer(48, frozenset({0, 1, 2}))
    )


def engine_of(
    spec: Bundle, settings: Settings, context: int | None = None, without_eos: bool = False
) -> JaxEngine:
    """Return an engine for a model. without_eos: no token ends a sequence."""
    directory = spec.checkpoint.directory
    eos = () if without_eos else spec.checkpoint.eos_token_ids
    return JaxEngine(load(directory, context=context), eos, spec.vocabulary, settings)


@pytest.fixture(scope="session")
def engine(spec: Bundle) -> Iterator[JaxEngine]:
    engine = engine_of(spec, SMALL)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def tight_engine(spec: Bundle) -> Iterator[JaxEngine]:
    """An engine whose KV cache holds a single context: concurrent requests are preempted."""
    engine = engine_of(spec, TIGHT, TIGHT_CONTEXT)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def vlm() -> Bundle:
    """A LLaVA whose images take ten tokens each, so four of them span two pages."""
    return Bundle.from_parts(
        checkpoint.load(GOLDENS / "llava_before"), IdsOnlyTokenizer(48, frozenset({0, 1, 2}))
    )


@pytest.fixture(scope="session")
def vlm_engine(vlm: Bundle) -> Iterator[JaxEngine]:
    engine = engine_of(vlm, VLM)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def vlm_backend(vlm: Bundle, vlm_engine: JaxEngine) -> Iterator[Backend]:
    tight = engine_of(vlm, TIGHT_VLM, TIGHT_CONTEXT)
    yield Backend(vlm, vlm_engine, tight, lambda: tight.scheduler.num_preemptions, lambda: None)
    tight.close()


@pytest.fixture(scope="session")
def ids_backend(spec: Bundle, engine: JaxEngine, tight_engine: JaxEngine) -> Backend:
    """A backend without a tokenizer."""
    return Backend(
        spec, engine, tight_engine, lambda: tight_engine.scheduler.num_preemptions, lambda: None
    )


@pytest.fixture(scope="session")
def text_backend(model: Bundle, jax_served: ServedModel) -> Backend:
    """A backend with the embedded model and its tokenizer, as served, and no small cache."""
    return Backend(model, jax_served.engine, jax_served.engine, lambda: 0, lambda: None)
