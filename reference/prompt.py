"""From a prompt as it was sent to the token ids that a model reads."""

from collections.abc import Sequence

from reference.stopping import ContextLengthExceeded, token_budget
from reference.tokenizer.protocol import HasMaxTokenBytes, Tokenizer


class EmptyPrompt(ValueError):
    """A prompt without a token: there is nothing to go on from."""


class UnknownToken(ValueError):
    """A prompt with an id that the model has no row for. A text may lead to one, too: some
    tokenizers have tokens (a `<pad>`, say) that were added to them and not to the model.
    """


def prompt_ids(
    tokenizer: Tokenizer, prompt: str | Sequence[int], vocab_size: int, context: int
) -> list[int]:
    """The ids of a prompt that leaves room for a token.

    Raises EmptyPrompt, UnknownToken or ContextLengthExceeded.
    """
    if isinstance(prompt, str):
        refuse_long(tokenizer, prompt, context)
        ids = tokenizer.encode(prompt)
    else:
        ids = list(prompt)
    if not ids:
        raise EmptyPrompt("prompt: it has no tokens")
    token_budget(None, context, len(ids))
    for i, token in enumerate(ids):
        if not 0 <= token < vocab_size:
            raise UnknownToken(f"prompt: id {token} at {i} is not in 0 … {vocab_size - 1}")
    return ids


def refuse_long(tokenizer: Tokenizer, text: str, context: int) -> None:
    """Raise ContextLengthExceeded for a text that no `context` tokens can spell: to count the
    tokens of many megabytes takes seconds.
    """
    most = tokenizer.max_token_bytes if isinstance(tokenizer, HasMaxTokenBytes) else None
    if most is not None and (size := len(text.encode())) > context * most:
        raise ContextLengthExceeded(
            f"the prompt has {size} bytes and the context {context} tokens, each of which stands "
            f"for {most} at most: no room is left for a token of output"
        )
