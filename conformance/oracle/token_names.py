"""The strings that a server writes for tokens in `logprobs`."""

from functools import cached_property

from conformance.http.response import TOKEN_ID
from reference.bundle import Bundle
from reference.output_text import TokenDisplay

WORD_BOUNDARIES = " ▁Ġ"  # a space, and how SentencePiece and byte-level BPE write it


class TokenNames:
    """The ids of the tokens with each string. stripped: the strings lack their leading space."""

    def __init__(self, model: Bundle, stripped: bool) -> None:
        self.model, self.stripped = model, stripped

    def ids(self, name: str) -> list[int]:
        """Return the ids of all tokens with a string."""
        if match := TOKEN_ID.fullmatch(name):
            return [int(match[1])]
        return self._by_name.get(self._written(name), [])

    @cached_property
    def _by_name(self) -> dict[str, list[int]]:
        display = TokenDisplay(self.model.tokenizer, as_ids=False)
        ids: dict[str, list[int]] = {}
        for token in range(self.model.vocab_size):
            ids.setdefault(self._written(display.name(token)), []).append(token)
        return ids

    def _written(self, name: str) -> str:
        return name.lstrip(WORD_BOUNDARIES) if self.stripped else name
