"""A checkpoint with its processor: tokenizer, image processor and vocabulary."""

from dataclasses import dataclass
from pathlib import Path

from reference.images.limits import ImageLimits
from reference.images.placement import ImageProcessor, load_image_processor
from reference.model import checkpoint
from reference.model.checkpoint import Checkpoint
from reference.model.config import AUTO, LlamaConfig
from reference.model.config_fields import ConfigError
from reference.tokenizer.loader import load_tokenizer
from reference.tokenizer.protocol import Tokenizer
from reference.tokenizer.vocabulary import Vocabulary

EMBEDDED = Path(__file__).parent / "embedded"


@dataclass(frozen=True)
class Processor:
    """The parts of a bundle without weights. image_processor: None for a text-only model."""

    tokenizer: Tokenizer
    image_processor: ImageProcessor | None
    vocabulary: Vocabulary


@dataclass(frozen=True)
class Bundle:
    """A checkpoint and its processor."""

    checkpoint: Checkpoint
    processor: Processor

    @classmethod
    def from_parts(
        cls,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        image_processor: ImageProcessor | None = None,
    ) -> "Bundle":
        """Build the vocabulary, and put the parts together."""
        vocabulary = build_vocabulary(tokenizer, checkpoint.config)
        return cls(checkpoint, Processor(tokenizer, image_processor, vocabulary))

    @property
    def tokenizer(self) -> Tokenizer:
        return self.processor.tokenizer

    @property
    def image_processor(self) -> ImageProcessor | None:
        return self.processor.image_processor

    @property
    def vocabulary(self) -> Vocabulary:
        return self.processor.vocabulary

    @property
    def disallowed_token_ids(self) -> frozenset[int]:
        """Ids that are not text: never sampled, except where they end the output."""
        return self.vocabulary.disallowed_token_ids

    @property
    def vocab_size(self) -> int:
        """V: the ids 0 ≤ id < V are valid in a prompt."""
        return self.checkpoint.config.vocab_size

    @property
    def context(self) -> int:
        """Maximum number of tokens of prompt and output together."""
        return self.checkpoint.config.max_position_embeddings


def build_vocabulary(tokenizer: Tokenizer, config: LlamaConfig) -> Vocabulary:
    """Return the bytes of each token, and the ids that are not text.

    The latter are special tokens, the image placeholder, and ids that only the embedding has.
    Raises ConfigError if the tokenizer begins every text with an id that the embedding lacks.
    """
    vocab_size = config.vocab_size
    if tokenizer.bos_id is not None and tokenizer.bos_id >= vocab_size:
        raise ConfigError(
            f"vocab_size: {vocab_size} leaves out the tokenizer's BOS token {tokenizer.bos_id}"
        )
    placeholder = set() if config.vision is None else {config.vision.image_token_id}
    unknown = set(range(tokenizer.vocab_size, vocab_size))
    known = min(vocab_size, tokenizer.vocab_size)
    pieces = tuple(map(tokenizer.token_bytes, range(known))) + (b"",) * (vocab_size - known)
    prepends = tokenizer.leading_space or tokenizer.space_after
    spaced = {i for i in tokenizer.added_ids if i < known and pieces[i].startswith(b" ")}
    return Vocabulary(
        pieces=pieces,
        disallowed_token_ids=frozenset(range(vocab_size))
        & (tokenizer.special_ids | placeholder | unknown),
        bos_id=tokenizer.bos_id,
        leading_space=tokenizer.leading_space,
        space_after=tokenizer.space_after,
        context_dependent_ids=tokenizer.space_after | (spaced if prepends else set()),
    )


def load_processor(directory: str | Path, limits: ImageLimits | None = None) -> Processor:
    """Read the processor of a checkpoint directory, without its weights.

    limits: bounds on the images of a request. Raises CheckpointError, ConfigError or
    TokenizerError.
    """
    config = checkpoint.read_config(directory)
    tokenizer = load_tokenizer(directory)
    image_processor = load_image_processor(directory, config.vision, tokenizer, limits)
    return Processor(tokenizer, image_processor, build_vocabulary(tokenizer, config))


def load_bundle(
    directory: str | Path,
    context: int | None = None,
    limits: ImageLimits | None = None,
    kv_dtype: str = AUTO,
) -> Bundle:
    """Read a checkpoint directory in Hugging Face format.

    context: maximum context length, if not the stored one. limits: bounds on the images of a
    request. kv_dtype: of the KV cache (`LlamaConfig.with_kv_dtype`). Raises CheckpointError,
    ConfigError or TokenizerError.

    The tokenizer may have ids outside the model's vocabulary (often a `<pad>` that was added
    later): only a prompt with such an id is rejected. End-of-sequence ids must be inside it.
    """
    processor = load_processor(directory, limits)
    return Bundle(checkpoint.load(directory, context=context, kv_dtype=kv_dtype), processor)
