"""Prompts that are refused. A text that is far too long is refused without tokenization."""

import pytest

from reference.bundle import Bundle
from reference.completion import complete
from reference.params import CompletionParams
from reference.prompt import EmptyPrompt, UnknownToken, prompt_ids
from reference.stopping import ContextLengthExceeded
from tests.support.byte_tokenizer import ByteTokenizer


class BoundedByteTokenizer(ByteTokenizer):
    """A byte tokenizer that declares the length of its longest token."""

    max_token_bytes = 2


def fail_to_encode(text: str) -> list[int]:
    raise AssertionError("encode was called")


def test_prompt_ids() -> None:
    assert prompt_ids(ByteTokenizer(), "a", 259, 10) == [32, 97]
    assert prompt_ids(ByteTokenizer(), (1, 258), 259, 3) == [1, 258]
    with pytest.raises(EmptyPrompt, match="^prompt: "):
        prompt_ids(ByteTokenizer(), [], 259, 10)
    for ids in [1, 259], [1, -1]:
        with pytest.raises(UnknownToken, match=f"^prompt: .* got {ids[1]} at index 1"):
            prompt_ids(ByteTokenizer(), ids, 259, 10)
    with pytest.raises(ContextLengthExceeded):
        prompt_ids(ByteTokenizer(), [1, 2, 3], 259, 3)


def test_text_with_an_id_outside_the_vocabulary() -> None:
    with pytest.raises(UnknownToken, match="^prompt: .* got 97 at index 1"):
        prompt_ids(ByteTokenizer(), "a", 97, 10)


def test_oversized_text_is_not_tokenized(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = BoundedByteTokenizer()
    monkeypatch.setattr(tokenizer, "encode", fail_to_encode)
    with pytest.raises(ContextLengthExceeded, match="13 bytes"):
        prompt_ids(tokenizer, "é" * 6 + "a", 259, 6)
    with pytest.raises(AssertionError, match="encode was called"):
        prompt_ids(tokenizer, "é" * 6, 259, 6)
    with pytest.raises(ContextLengthExceeded, match="14 tokens"):
        prompt_ids(ByteTokenizer(), "é" * 6 + "a", 259, 6)


def test_complete_refuses_oversized_text(model: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.tokenizer, "encode", fail_to_encode)
    with pytest.raises(ContextLengthExceeded):
        complete(model, "once upon a time " * 400, CompletionParams())
