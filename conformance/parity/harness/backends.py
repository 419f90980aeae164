"""The backends that are held against the reference, each in two places: a roomy one, and one whose
cache holds a single context, so that requests have to give way.
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
CONTEXT = 256  # tokens: short, so that it is easily too few for a crowd


@dataclass(frozen=True)
class Backend:
    """preempted: how often a request gave way, in the tight place."""

    model: Bundle
    roomy: Engine
    tight: Engine
    preempted: Callable[[], int]
    close: Callable[[], None]


@dataclass
class NoText:
    """In the place of a tokenizer: every id is a token that may be drawn, and stands for one of the
    characters that JSON is made of, so that a grammar can be followed.
    """

    vocab_size: int
    special_ids: frozenset[int] = frozenset()
    bos_id: int | None = None
    leading_space: bool = False

    def encode(self, text: str) -> list[int]:
        raise ValueError("this model reads ids only")

    def piece(self, token: int) -> bytes:
        return CHARACTERS[token % len(CHARACTERS)]


def read(directory: Path) -> Bundle:
    """A checkpoint directory, with or without a tokenizer."""
    weights = checkpoint.load(directory, context=CONTEXT)
    try:
        words = loader.load_tokenizer(directory)
    except TokenizerError:
        return Bundle(weights, NoText(weights.config.vocab_size))
    return Bundle(weights, words)


def jax(directory: Path) -> Backend:
    from jax_backend.model.checkpoint import load
    from jax_backend.serving.engine import JaxEngine
    from jax_backend.serving.executor import Settings

    model, size = read(directory), 32

    def engine(contexts: int) -> JaxEngine:
        pages = contexts * -(-CONTEXT // size)
        settings = Settings(pages=pages, page_size=size, chunks=(16, 64))
        eos = model.checkpoint.eos_token_ids
        return JaxEngine(load(directory, context=CONTEXT), eos, model.vocabulary, settings)

    roomy, tight = engine(32), engine(1)

    def close() -> None:
        roomy.close()
        tight.close()

    return Backend(model, roomy, tight, lambda: tight.scheduler.preempted, close)


BACKENDS: dict[str, Callable[[Path], Backend]] = {"jax": jax}
