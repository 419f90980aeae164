"""One engine for the tests that need one: compiled once, with pages enough for a small crowd."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jax_backend.checkpoint import load
from jax_backend.device import Settings
from jax_backend.engine import JaxEngine
from reference import checkpoint
from reference.model import Model

GOLDENS = Path(__file__).parent.parent / "goldens"
SMALL = Settings(widths=(1, 2, 4), pages=160, page_size=32, chunks=(8, 16))
TIGHT = Settings(widths=(2, 4), pages=128, page_size=32, chunks=(8, 16))


class NoText:
    """In the place of a tokenizer, which an engine has no use for."""

    vocab_size = 48
    special_ids = frozenset({0, 1, 2})
    bos_id = None
    leading_space = False

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def piece(self, token: int) -> bytes:
        raise NotImplementedError


@pytest.fixture(scope="session")
def spec() -> Model:
    return Model(checkpoint.load(GOLDENS / "gqa"), NoText())


def engine_of(spec: Model, settings: Settings, endless: bool = False) -> JaxEngine:
    """endless: no token ends a text."""
    eos = () if endless else spec.checkpoint.eos_token_ids
    return JaxEngine(load(spec.checkpoint.directory), eos, spec.never, settings)


@pytest.fixture(scope="session")
def engine(spec: Model) -> Iterator[JaxEngine]:
    engine = engine_of(spec, SMALL)
    yield engine
    engine.close()
