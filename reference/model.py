"""A model as a request meets it: weights, tokenizer, and the tokens that end a text or never stand
in one.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reference import checkpoint, tokenizer
from reference.checkpoint import Checkpoint
from reference.tokenizer import Tokenizer

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

    @cached_property
    def never(self) -> frozenset[int]:
        """Ids that are no text."""
        return no_text(self.tokenizer, self.vocab_size)


def no_text(tokenizer: Tokenizer, vocab_size: int) -> frozenset[int]:
    """Special tokens, and rows of the embedding that the tokenizer does not know."""
    return tokenizer.special_ids | set(range(tokenizer.vocab_size, vocab_size))


def load(directory: str | Path, context: int | None = None) -> Model:
    """Read a checkpoint directory in Hugging Face format. context: the most tokens of a text, if
    not what the model has stored. Raises CheckpointError, ConfigError or TokenizerError.

    The tokenizer may know ids that the model does not (a `<pad>` that was added later is common): a
    prompt that leads to one is refused, not the directory. An end-of-sequence id must be the
    model's.
    """
    return Model(checkpoint.load(directory, context=context), tokenizer.load(directory))
