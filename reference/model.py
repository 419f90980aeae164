"""A model as a request meets it: weights, tokenizer, and the tokens that end a text or never stand
in one.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reference import checkpoint, tokenizer
from reference.checkpoint import Checkpoint
from reference.tokenizer import Tokenizer
from reference.vocabulary import Vocabulary

EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Model:
    """A checkpoint and its tokenizer."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer

    @property
    def vocab_size(self) -> int:
        """V: ids 0 ≤ id < V may stand in a prompt."""
        return self.checkpoint.config.vocab_size

    @property
    def context(self) -> int:
        """The most tokens that prompt and output have together."""
        return self.checkpoint.config.max_position_embeddings

    @property
    def never(self) -> frozenset[int]:
        """Ids that are no text."""
        return self.vocabulary.never

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens as bytes, and which of them are no text."""
        return vocabulary(self.tokenizer, self.vocab_size)


def vocabulary(tokenizer: Tokenizer, vocab_size: int) -> Vocabulary:
    """The tokens of a model of this size. No text are special tokens, and rows of the embedding
    that the tokenizer does not know.
    """
    known = min(vocab_size, tokenizer.vocab_size)
    return Vocabulary(
        pieces=tuple(map(tokenizer.piece, range(known))) + (b"",) * (vocab_size - known),
        never=tokenizer.special_ids | set(range(tokenizer.vocab_size, vocab_size)),
        bos_id=tokenizer.bos_id,
        leading_space=tokenizer.leading_space,
    )


def load(directory: str | Path, context: int | None = None) -> Model:
    """Read a checkpoint directory in Hugging Face format. context: the most tokens of a text, if
    not what the model has stored. Raises CheckpointError, ConfigError or TokenizerError.

    The tokenizer may know ids that the model does not (a `<pad>` that was added later is common): a
    prompt that leads to one is refused, not the directory. An end-of-sequence id must be the
    model's.
    """
    return Model(checkpoint.load(directory, context=context), tokenizer.load(directory))
