"""The text that the embedded model is trained on: documents, as many as are wanted, from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass

from jax_backend.training.text.chance import Chance
from jax_backend.training.text.records import listing, questions, record
from jax_backend.training.text.stories import story

KINDS = {"story": story, "record": record, "list": listing, "questions": questions}
SHARES = ("story", "story", "record", "list", "questions")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text. bits: its information content under the generator, the choice of its kind
    included.
    """

    kind: str
    text: str
    bits: float


def documents(seed: int) -> Iterator[Document]:
    """Documents without end; document i depends on the seed and on i alone."""
    i = 0
    while True:
        yield document(seed, i)
        i += 1


def document(seed: int, index: int) -> Document:
    chance = Chance(seed * 2**32 + index)
    kind = chance.pick(SHARES)
    # Two of the five shares are stories, so picking one of them is worth one bit less.
    shared = 1.0 if SHARES.count(kind) == 2 else 0.0
    text = KINDS[kind](chance)
    return Document(kind=kind, text=text, bits=chance.bits - shared)
