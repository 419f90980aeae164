"""Requests through an engine with the attention of GPUs that is plain JAX."""

from collections.abc import Iterator

import pytest

from conformance.parity.engine import PROPERTIES
from conformance.parity.harness.backends import Backend
from conformance.parity.harness.property import EngineProperty
from jax_backend.model.attention import xla
from jax_backend.model.checkpoint import load
from jax_backend.serving.engine import JaxEngine
from reference.bundle import Bundle
from tests.jax_backend.conftest import SMALL, TIGHT, TIGHT_CONTEXT
from tests.jax_backend.properties import assert_rarely_flipped, check_property

pytestmark = pytest.mark.lane


@pytest.fixture(scope="module")
def backend(spec: Bundle) -> Iterator[Backend]:
    """Blocks of one page, so that contexts have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla, "BLOCK_KEYS", SMALL.page_size)
        large, small = (
            JaxEngine(
                load(spec.checkpoint.directory, context=context, attention=xla.XLA),
                spec.checkpoint.eos_token_ids,
                spec.vocabulary,
                settings,
            )
            for settings, context in ((SMALL, None), (TIGHT, TIGHT_CONTEXT))
        )
        yield Backend(spec, large, small, lambda: small.scheduler.num_preemptions, lambda: None)
        large.close()
        small.close()


@pytest.mark.parametrize("tested", PROPERTIES, ids=lambda p: p.name)
def test_engine_property(tested: EngineProperty, backend: Backend) -> None:
    """Requests agree with the reference and are bitwise identical under concurrent load."""
    assert_rarely_flipped(check_property(tested.bind(backend), 0.3))
