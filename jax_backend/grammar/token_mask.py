"""`response_format`: which tokens may come next, from llguidance, which follows a grammar with a
lexer and an Earley parser over a trie of the vocabulary.

Source: https://github.com/guidance-ai/llguidance
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Int32
from llguidance import (
    LLExecutor,
    LLMatcher,
    LLParserLimits,
    LLTokenizer,
    TokenizerWrapper,
)
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par

from jax_backend.grammar.lark import lark, with_a_space_more
from reference.grammar.language.errors import TooComplex, UnsupportedFormat
from reference.grammar.language.expressions import Language
from reference.request import Request
from reference.tokenizer.vocabulary import Vocabulary

# A state of the lexer takes 1 to 2 KB, and is kept as long as its language is.
LIMITS = LLParserLimits(max_lexer_states=25_000, verbose_errors=False)


class Tokens:
    """A vocabulary as llguidance wants it: with one token more, of no bytes, that ends every text.
    Which tokens end a text differs from request to request. It is called for text that must come,
    which `no_forcing` (`jax_backend.grammar.lark`) rules out: then an error is better than a guess.
    """

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = len(vocabulary.pieces)
        self.tokens = [*vocabulary.pieces, b"\xff<end>"]
        self.special_token_ids = sorted({*vocabulary.never, self.eos_token_id})

    def __call__(self, text: bytes) -> list[int]:
        raise NotImplementedError("nothing is tokenized here")


@dataclass(frozen=True)
class Text:
    """The text of one choice, as far as it has come. ends: the tokens that end it, and are no part
    of it.
    """

    matcher: LLMatcher
    ends: tuple[int, ...]

    def copy(self) -> "Text":
        return Text(self.matcher.deep_copy(), self.ends)

    def push(self, token: int) -> None:
        """Go on with a token that is allowed, and does not end the text. If that takes more than
        the bounds allow, the next mask says so.
        """
        self.matcher.consume_token(token)


class Grammars:
    """Those of one model's vocabulary. What was compiled is kept as long as its language is."""

    def __init__(self, vocabulary: Vocabulary, eos: frozenset[int]) -> None:
        self.vocabulary, self.eos = vocabulary, eos
        self._tokenizer = LLTokenizer(TokenizerWrapper(Tokens(vocabulary)))
        self._executor = LLExecutor()
        self._compiled: WeakKeyDictionary[Language, dict[bool, LLMatcher]] = WeakKeyDictionary()

    def begin(self, request: Request) -> Text:
        """An empty text. Raises TooComplex if llguidance cannot compile the grammar, or not within
        its bounds.
        """
        assert request.language is not None
        first = self.vocabulary.strips_leading_space(request.prompt)
        ends = self.eos | (frozenset(request.params.stop_token_ids) & self.vocabulary.never)
        matcher = self._compile(request.language, first)
        return Text(matcher.deep_copy(), tuple(sorted(ends)))

    def _compile(self, language: Language, first: bool) -> LLMatcher:
        known = self._compiled.setdefault(language, {})
        if first not in known:
            grammar = lark(with_a_space_more(language) if first else language)
            matcher = LLMatcher(
                self._tokenizer, LLMatcher.grammar_from_lark(grammar), log_level=0, limits=LIMITS
            )
            if matcher.is_error():
                raise TooComplex(f"response_format: {what_is_wrong(matcher)}")
            known[first] = matcher
        return known[first]

    def masks(
        self, texts: Sequence[Text | None]
    ) -> tuple[Int32[np.ndarray, "B W"], list[UnsupportedFormat | None]]:
        """For each text a bit for each token, the lowest bit first: whether it may come next.
        Beside it, what has gone wrong with it. All bits are set for None, and where it has.
        """
        size = len(self.vocabulary.pieces)
        bits = allocate_token_bitmask(len(texts), size + 1)
        asked = [(text.matcher, i) for i, text in enumerate(texts) if text is not None]
        if asked:
            fill_next_token_bitmask_par(self._executor, asked, bits)
        errors = [None if t is None else self._finish(t, bits[i]) for i, t in enumerate(texts)]
        return bits[:, : -(-size // 32)], errors

    def _finish(self, text: Text, bits: Int32[np.ndarray, "W"]) -> UnsupportedFormat | None:
        """Set the bits of the tokens that end the text. If something is wrong, set them all."""
        flags = bits.view(np.uint32)
        may_end = not text.matcher.is_error() and text.matcher.is_accepting()
        for token in (*text.ends, len(self.vocabulary.pieces)):
            bit = np.uint32(1 << token % 32)
            real = token < len(self.vocabulary.pieces)
            flags[token // 32] = (
                (flags[token // 32] | bit) if may_end and real else (flags[token // 32] & ~bit)
            )
        error: UnsupportedFormat | None = None
        wrong = what_is_wrong(text.matcher)
        if wrong not in ("", "NoExtensionBias"):
            error = TooComplex(f"response_format: {wrong}")
        elif wrong or not bits.any():
            error = UnsupportedFormat("response_format: no token of this vocabulary can come next")
        if error:
            bits[:] = -1
        return error


def what_is_wrong(matcher: LLMatcher) -> str:
    """The first line of its error, if there is one."""
    return str(matcher.get_error()).partition("\n")[0]
