"""The toy engine generates the outputs of its docstring."""

from reference.params import CompletionParams
from reference.request import Request
from reference.tokenizer.detokenizer import decode
from tests.api.toy import EOS, VOCABULARY, ToyTokenizer, choice_tokens


def tokens(prompt: str, seed: int = 0, choice: int = 0, **params: float) -> list[int]:
    request = Request(
        prompt=tuple(ToyTokenizer().encode(prompt)), params=CompletionParams(**params), seed=seed
    )
    return [event.token for event in choice_tokens(request, choice)]


def test_worked_examples() -> None:
    assert tokens("w", temperature=0) == [25, 26, 27, EOS]
    assert tokens("w", seed=1) == [26, EOS]
    assert tokens("0", temperature=0) == [29, 30, 31, 32, 33, 34, 35, EOS]
    assert tokens("~", max_tokens=3) == [36, 36, 36]
    assert tokens("", temperature=0)[:2] == [2, 3]


def test_tokenizer_round_trip() -> None:
    tokenizer = ToyTokenizer()
    for text in "", "abc", "0!~ <s>", "Zoë €\n":
        assert decode(tokenizer, tokenizer.encode(text)) == text
    assert tokenizer.vocab_size < VOCABULARY
