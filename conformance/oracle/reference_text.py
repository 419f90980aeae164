"""The text of an output, detokenized by the reference."""

from collections.abc import Sequence
from typing import Any

from conformance.http.oracle import Oracle
from reference.output_text import prompt_text, start_choice
from reference.params import CompletionParams
from reference.request import TokenGenerated


def reference_text(oracle: Oracle, prompt: str, ids: Sequence[int], finish_reason: Any) -> str:
    """Return the text of an output after a prompt. finish_reason: that of its last token."""
    tokenizer = oracle.model.tokenizer
    prompt_ids = oracle.ids(prompt)
    choice = start_choice(tokenizer, CompletionParams(), prompt_ids, prompt_text(tokenizer, prompt))
    reasons = [None] * (len(ids) - 1) + [finish_reason]
    events = [
        TokenGenerated(choice=0, token=token, finish_reason=reason)
        for token, reason in zip(ids, reasons, strict=True)
    ]
    return "".join([choice.push(event).text for event in events])
