"""Prompts that are refused. A text that is far too long is refused without tokenization."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference.bundle import Bundle
from reference.completion import complete
from reference.input_limits import reject_oversized_text
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
        reject_oversized_text(tokenizer, "é" * 6 + "a", 6)
    reject_oversized_text(tokenizer, "é" * 6, 6)
    reject_oversized_text(tokenizer, [1] * 100, 6)
    reject_oversized_text(ByteTokenizer(), "é" * 6 + "a", 6)
    with pytest.raises(ContextLengthExceeded, match="14 tokens"):
        prompt_ids(ByteTokenizer(), "é" * 6 + "a", 259, 6)


@given(st.text("aé€", max_size=60), st.integers(1, 20))
def test_refused_text_is_refused_after_tokenization_too(text: str, context: int) -> None:
    tokenizer = BoundedByteTokenizer()
    try:
        reject_oversized_text(tokenizer, text, context)
    except ContextLengthExceeded:
        with pytest.raises(ContextLengthExceeded):
            prompt_ids(tokenizer, text, 259, context)


def test_complete_refuses_oversized_text(model: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.tokenizer, "encode", fail_to_encode)
    with pytest.raises(ContextLengthExceeded):
        complete(model, "once upon a time " * 400, CompletionParams())
