"""The training text of the embedded model: an endless sequence of documents from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass

from jax_backend.training.text.random_source import RandomSource
from jax_backend.training.text.records import listing, questions, record
from jax_backend.training.text.stories import story

KINDS = {"story": story, "record": record, "list": listing, "questions": questions}
SHARES = ("story", "story", "record", "list", "questions")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document. bits: its information content under the generator, including the choice of its
    kind.
    """

    kind: str
    text: str
    bits: float


def documents(seed: int) -> Iterator[Document]:
    """Yield documents without end. Document i depends only on the seed and on i."""
    i = 0
    while True:
        yield document(seed, i)
        i += 1


def document(seed: int, index: int) -> Document:
    """Generate one document."""
    rng = RandomSource(seed * 2**32 + index)
    kind = rng.pick(SHARES)
    # Two of the five shares are stories, so picking one of them is worth one bit less.
    shared = 1.0 if SHARES.count(kind) == 2 else 0.0
    text = KINDS[kind](rng)
    return Document(kind=kind, text=text, bits=rng.bits - shared)
