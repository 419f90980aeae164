"""A model as a request meets it: weights, tokenizer, and the tokens that end a text or never stand
in one.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reference.images import placement
from reference.images.decoding import ImageLimits
from reference.images.placement import ImageProcessor
from reference.model import checkpoint
from reference.model.checkpoint import Checkpoint
from reference.model.config import LlamaConfig
from reference.tokenizer import loader
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.vocabulary import Vocabulary

EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Bundle:
    """A checkpoint, its tokenizer, and how it sees; None if it reads text only."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    sight: ImageProcessor | None = None

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
        return vocabulary(self.tokenizer, self.checkpoint.config)


def vocabulary(tokenizer: Tokenizer, config: LlamaConfig) -> Vocabulary:
    """The tokens of a model. No text are special tokens, the placeholder of an image, and rows of
    the embedding that the tokenizer does not know.
    """
    vocab_size = config.vocab_size
    placeholder = set() if config.vision is None else {config.vision.image_token_id}
    known = min(vocab_size, tokenizer.vocab_size)
    return Vocabulary(
        pieces=tuple(map(tokenizer.piece, range(known))) + (b"",) * (vocab_size - known),
        never=tokenizer.special_ids | placeholder | set(range(tokenizer.vocab_size, vocab_size)),
        bos_id=tokenizer.bos_id,
        leading_space=tokenizer.leading_space,
    )


def load_bundle(
    directory: str | Path, context: int | None = None, limits: ImageLimits | None = None
) -> Bundle:
    """Read a checkpoint directory in Hugging Face format. context: the most tokens of a text, if
    not what the model has stored. limits: of the pictures that it takes. Raises
    CheckpointError, ConfigError or TokenizerError.

    The tokenizer may know ids that the model does not (a `<pad>` that was added later is common): a
    prompt that leads to one is refused, not the directory. An end-of-sequence id must be the
    model's.
    """
    words = loader.load_tokenizer(directory)
    eyes = checkpoint.read_config(directory).vision
    sight = placement.load_image_processor(directory, eyes, words, limits)
    return Bundle(checkpoint.load(directory, context=context), words, sight)
