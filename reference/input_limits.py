"""Protection against very long inputs, apart from the meaning of a prompt."""

from collections.abc import Sequence

from reference.stopping import ContextLengthExceeded
from reference.tokenizer.bounds import HasMaxTokenBytes
from reference.tokenizer.protocol import Tokenizer


def reject_oversized_text(tokenizer: Tokenizer, prompt: str | Sequence[int], context: int) -> None:
    """Raise ContextLengthExceeded for a text of more bytes than `context` tokens can have.

    `prompt.prompt_ids` refuses the same texts, after tokenization, which takes seconds for many
    megabytes. Token ids pass.
    """
    if not isinstance(prompt, str) or not isinstance(tokenizer, HasMaxTokenBytes):
        return
    max_bytes = tokenizer.max_token_bytes
    if max_bytes is not None and (size := len(prompt.encode())) > context * max_bytes:
        raise ContextLengthExceeded(
            f"the prompt has {size} bytes; the maximum context length is {context} tokens of at "
            f"most {max_bytes} bytes, which leaves no room for output"
        )
