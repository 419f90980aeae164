"""One engine for the tests that need one: compiled once, with pages enough for a small crowd."""

from collections.abc import Iterator

import jax
import pytest

from api.engine import Served
from conformance.parity.harness.backends import Backend, NoText
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from jax_backend.serving.executor import Settings
from reference.bundle import Bundle
from reference.model import checkpoint
from tests.goldens import GOLDENS

# A page is no multiple of the largest chunk, so a cache hit may end within one.
SMALL = Settings(widths=(1, 2, 4), pages=160, page_size=32, chunks=(16, 64))
TIGHT_CONTEXT = 256
TIGHT = Settings(widths=(2, 4), pages=8, page_size=32, chunks=(16, 64))
SEEING = Settings(widths=(1, 4), pages=160, page_size=32, chunks=(64,))
TIGHT_SEEING = Settings(widths=(4,), pages=8, page_size=32, chunks=(64,), images=(1,))


jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="session")
def spec() -> Bundle:
    return Bundle(checkpoint.load(GOLDENS / "gqa"), NoText(48, frozenset({0, 1, 2})))


def engine_of(
    spec: Bundle, settings: Settings, context: int | None = None, endless: bool = False
) -> JaxEngine:
    """endless: no token ends a text."""
    directory = spec.checkpoint.directory
    eos = () if endless else spec.checkpoint.eos_token_ids
    return JaxEngine(load(directory, context=context), eos, spec.vocabulary, settings)


@pytest.fixture(scope="session")
def engine(spec: Bundle) -> Iterator[JaxEngine]:
    engine = engine_of(spec, SMALL)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def tight_engine(spec: Bundle) -> Iterator[JaxEngine]:
    """With a cache that holds a single context: in a crowd requests give way to each other."""
    engine = engine_of(spec, TIGHT, TIGHT_CONTEXT)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def seeing() -> Bundle:
    """A LLaVA whose images take ten places: two pages' worth are four of them, in one prompt."""
    return Bundle(checkpoint.load(GOLDENS / "llava_before"), NoText(48, frozenset({0, 1, 2})))


@pytest.fixture(scope="session")
def seeing_engine(seeing: Bundle) -> Iterator[JaxEngine]:
    engine = engine_of(seeing, SEEING)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def seeing_backend(seeing: Bundle, seeing_engine: JaxEngine) -> Iterator[Backend]:
    tight = engine_of(seeing, TIGHT_SEEING, TIGHT_CONTEXT)
    yield Backend(seeing, seeing_engine, tight, lambda: tight.scheduler.preempted, lambda: None)
    tight.close()


@pytest.fixture(scope="session")
def bare_backend(spec: Bundle, engine: JaxEngine, tight_engine: JaxEngine) -> Backend:
    """That reads and writes ids only."""
    return Backend(
        spec, engine, tight_engine, lambda: tight_engine.scheduler.preempted, lambda: None
    )


@pytest.fixture(scope="session")
def writing_backend(model: Bundle, jax_served: Served) -> Backend:
    """With the embedded model and its tokenizer, as it is served; there is no tight place."""
    return Backend(model, jax_served.engine, jax_served.engine, lambda: 0, lambda: None)
