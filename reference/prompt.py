"""Validation and tokenization of a prompt: text or token ids as sent → token ids."""

from collections.abc import Sequence

from reference.stopping import token_budget
from reference.tokenizer.protocol import Tokenizer


class EmptyPrompt(ValueError):
    """A prompt without tokens: the model has nothing to continue."""


class UnknownToken(ValueError):
    """A prompt with an id outside the model's vocabulary.

    Text can produce such an id too: some tokenizers have added tokens, such as `<pad>`, that the
    model's embedding lacks.
    """


def prompt_ids(
    tokenizer: Tokenizer, prompt: str | Sequence[int], vocab_size: int, context: int
) -> list[int]:
    """Return the ids of a prompt that leaves room for a token of output.

    Raises EmptyPrompt, UnknownToken or ContextLengthExceeded.
    """
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
    if not ids:
        raise EmptyPrompt("prompt: must have at least one token, got none")
    token_budget(None, context, len(ids))
    check_ids(ids, vocab_size)
    return ids


def check_ids(ids: Sequence[int], vocab_size: int, field: str = "prompt") -> None:
    """Raise UnknownToken, naming the field, if an id is outside the vocabulary."""
    for i, token in enumerate(ids):
        if not 0 <= token < vocab_size:
            raise UnknownToken(
                f"{field}: token ids must be 0 … {vocab_size - 1}, got {token} at index {i}"
            )
