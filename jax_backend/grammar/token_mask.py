"""Token masks from llguidance, which runs a lexer and an Earley parser over a trie of the
vocabulary.

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

from jax_backend.grammar.lark import to_lark, unstrip_leading_space
from reference.grammar.language.errors import TooComplex, UnsupportedFormat
from reference.grammar.language.expressions import Language
from reference.request import Request
from reference.tokenizer.vocabulary import Vocabulary

# A lexer state takes 1 to 2 KB, and lives as long as its language.
LIMITS = LLParserLimits(max_lexer_states=25_000, max_items_in_row=10_000, verbose_errors=False)


class LLVocabulary:
    """A vocabulary in the form that llguidance expects, plus one end token.

    The end tokens differ from request to request, so an artificial one ends every text here.
    llguidance would call the object to tokenize forced text, which `no_forcing` in the grammar
    turns off.
    """

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = len(vocabulary.pieces)
        self.tokens = [*vocabulary.pieces, b"\xff<end>"]
        excluded = vocabulary.disallowed_token_ids | vocabulary.context_dependent_ids
        self.special_token_ids = sorted({*excluded, self.eos_token_id})

    def __call__(self, text: bytes) -> list[int]:
        raise NotImplementedError("forced text is off")


@dataclass(frozen=True)
class MatcherState:
    """The output of one choice so far. end_tokens: ids that end it and are not part of it."""

    matcher: LLMatcher
    end_tokens: tuple[int, ...]

    def copy(self) -> "MatcherState":
        """Copy the state, for another choice of the request or for a draft."""
        return MatcherState(self.matcher.deep_copy(), self.end_tokens)

    def num_allowed(self, tokens: list[int]) -> int:
        """Return how many of these tokens, none of them an end token, may follow one another."""
        return 0 if self.matcher.is_error() else self.matcher.validate_tokens(tokens)

    def push(self, token: int) -> None:
        """Advance by a token that is allowed and not an end token. An error, such as exceeded
        limits, shows in the next mask.
        """
        self.matcher.consume_token(token)


class GrammarCompiler:
    """Compiles grammars for one model's vocabulary. A grammar is cached as long as its language
    lives.
    """

    def __init__(self, vocabulary: Vocabulary, eos: frozenset[int]) -> None:
        self.vocabulary, self.eos = vocabulary, eos
        self._tokenizer = LLTokenizer(TokenizerWrapper(LLVocabulary(vocabulary)))
        self._executor = LLExecutor()
        self._compiled: WeakKeyDictionary[Language, dict[bool, LLMatcher]] = WeakKeyDictionary()

    def start(self, request: Request) -> MatcherState:
        """Return the state before the first token. Raises TooComplex if llguidance cannot compile
        the grammar within its limits.
        """
        assert request.language is not None
        strip_space = self.vocabulary.strips_leading_space(request.prompt)
        end_tokens = self.eos | (
            frozenset(request.params.stop_token_ids) & self.vocabulary.disallowed_token_ids
        )
        matcher = self._compile(request.language, strip_space)
        return MatcherState(matcher.deep_copy(), tuple(sorted(end_tokens)))

    def _compile(self, language: Language, strip_space: bool) -> LLMatcher:
        compiled = self._compiled.setdefault(language, {})
        if strip_space not in compiled:
            grammar = to_lark(unstrip_leading_space(language) if strip_space else language)
            matcher = LLMatcher(
                self._tokenizer, LLMatcher.grammar_from_lark(grammar), log_level=0, limits=LIMITS
            )
            if matcher.is_error():
                raise TooComplex(f"response_format: {error_message(matcher)}")
            compiled[strip_space] = matcher
        return compiled[strip_space]

    def token_masks(
        self, states: Sequence[MatcherState | None]
    ) -> tuple[Int32[np.ndarray, "B W"], list[UnsupportedFormat | None]]:
        """Return the masks of a batch, one bit per token with the lowest bit first, and the error
        of each row. All bits are set where the state is None, and where there is an error.
        """
        size = len(self.vocabulary.pieces)
        bits = allocate_token_bitmask(len(states), size + 1)
        constrained = [(state.matcher, i) for i, state in enumerate(states) if state is not None]
        if constrained:
            fill_next_token_bitmask_par(self._executor, constrained, bits)
        errors = [
            None if s is None else self._complete_mask(s, bits[i]) for i, s in enumerate(states)
        ]
        return bits[:, : -(-size // 32)], errors

    def _complete_mask(
        self, state: MatcherState, bits: Int32[np.ndarray, "W"]
    ) -> UnsupportedFormat | None:
        """Set the bits of the end tokens, or all bits on an error, and return the error."""
        size = len(self.vocabulary.pieces)
        flags = bits.view(np.uint32)
        may_end = not state.matcher.is_error() and state.matcher.is_accepting()
        for token in (*state.end_tokens, size):  # the last one is the artificial end token
            bit = np.uint32(1 << token % 32)
            allowed = may_end and token < size
            flags[token // 32] = (
                (flags[token // 32] | bit) if allowed else flags[token // 32] & ~bit
            )
        error: UnsupportedFormat | None = None
        message = error_message(state.matcher)
        if message not in ("", "NoExtensionBias"):
            error = TooComplex(f"response_format: {message}")
        elif message or not bits.any():
            error = UnsupportedFormat(
                "response_format: no token in the vocabulary can extend the output"
            )
        if error:
            bits[:] = -1
        return error


def error_message(matcher: LLMatcher) -> str:
    """Return the first line of a matcher's error; empty if there is none."""
    return str(matcher.get_error()).partition("\n")[0]
