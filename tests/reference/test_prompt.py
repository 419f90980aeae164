"""What a prompt is refused for, and that no text is tokenised to find that it is far too long."""

import pytest

from reference.bundle import Bundle
from reference.completion import complete
from reference.params import CompletionParams
from reference.prompt import EmptyPrompt, UnknownToken, prompt_ids
from reference.stopping import ContextLengthExceeded
from tests.reference.test_output_text import Toy


class Short(Toy):
    """A token for each byte, and two for "ab"."""

    most_bytes = 2


def no_encode(text: str) -> list[int]:
    raise AssertionError("a text was tokenised")


def test_ids_of_a_prompt() -> None:
    assert prompt_ids(Toy(), "a", 259, 10) == [32, 97]
    assert prompt_ids(Toy(), (1, 258), 259, 3) == [1, 258]
    with pytest.raises(EmptyPrompt, match="^prompt: "):
        prompt_ids(Toy(), [], 259, 10)
    for ids in [1, 259], [1, -1]:
        with pytest.raises(UnknownToken, match=f"^prompt: id {ids[1]} at 1"):
            prompt_ids(Toy(), ids, 259, 10)
    with pytest.raises(ContextLengthExceeded):
        prompt_ids(Toy(), [1, 2, 3], 259, 3)


def test_a_text_may_lead_to_an_id_that_the_model_lacks() -> None:
    with pytest.raises(UnknownToken, match="^prompt: id 97 at 1"):
        prompt_ids(Toy(), "a", 97, 10)


def test_a_text_that_no_tokens_can_spell_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Short()
    monkeypatch.setattr(short, "encode", no_encode)
    with pytest.raises(ContextLengthExceeded, match="13 bytes"):
        prompt_ids(short, "é" * 6 + "a", 259, 6)
    with pytest.raises(AssertionError, match="tokenised"):
        prompt_ids(short, "é" * 6, 259, 6)
    with pytest.raises(ContextLengthExceeded, match="14 tokens"):
        prompt_ids(Toy(), "é" * 6 + "a", 259, 6)


def test_completion_refuses_alike(model: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.tokenizer, "encode", no_encode)
    with pytest.raises(ContextLengthExceeded):
        complete(model, "once upon a time " * 400, CompletionParams())
