"""The backends that are compared with the reference. Each runs twice: with a large cache, and with
a cache of a single context, which forces preemption.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conformance.parity.harness.requests import Engine
from reference.bundle import Bundle
from reference.model import checkpoint
from reference.tokenizer import loader
from reference.tokenizer.files import TokenizerError

CHARACTERS = [*(c.encode() for c in '{}[]:," \\/0123456789.-+eEabcdfnrtuls_'), b"\xc3", b"\xa9"]
CONTEXT = 256  # tokens: so short that concurrent requests easily exceed it


@dataclass(frozen=True)
class Backend:
    """A backend that serves one checkpoint. preemptions: how many there were on the small cache."""

    bundle: Bundle
    large_cache: Engine
    small_cache: Engine
    preemptions: Callable[[], int]
    close: Callable[[], None]


@dataclass
class IdsOnlyTokenizer:
    """Stub tokenizer of a model that has none. Every id may be sampled and is a character of
    JSON, so that constrained decoding works.
    """

    vocab_size: int
    special_ids: frozenset[int] = frozenset()
    added_ids: frozenset[int] = frozenset()
    space_after: frozenset[int] = frozenset()
    doubles_space: bool = True
    bos_id: int | None = None
    leading_space: bool = False

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        raise ValueError("prompt: this model has no tokenizer and takes token ids only")

    def offsets(self, text: str) -> list[int]:
        return self.encode(text)

    def token_bytes(self, token: int) -> bytes:
        return CHARACTERS[token % len(CHARACTERS)]


def load_bundle(directory: Path) -> Bundle:
    """Load a checkpoint directory, with or without a tokenizer."""
    weights = checkpoint.load(directory, context=CONTEXT)
    try:
        tokenizer = loader.load_tokenizer(directory)
    except TokenizerError:
        return Bundle.from_parts(weights, IdsOnlyTokenizer(weights.config.vocab_size))
    return Bundle.from_parts(weights, tokenizer)


def jax(directory: Path) -> Backend:
    """Start the JAX backend."""
    from jax_backend.model.checkpoint import load
    from jax_backend.serving.engine import JaxEngine
    from jax_backend.serving.settings import Settings

    bundle, size = load_bundle(directory), 32

    def engine(contexts: int) -> JaxEngine:
        pages = contexts * -(-CONTEXT // size)
        settings = Settings(
            num_pages=pages, page_size=size, prefill_sizes=(16, 64), segment_size=16
        )
        eos = bundle.checkpoint.eos_token_ids
        return JaxEngine(load(directory, context=CONTEXT), eos, bundle.vocabulary, settings)

    large, small = engine(32), engine(1)

    def close() -> None:
        large.close()
        small.close()

    return Backend(bundle, large, small, lambda: small.scheduler.num_preemptions, close)


BACKENDS: dict[str, Callable[[Path], Backend]] = {"jax": jax}
