"""Constrained decoding: the mask of the tokens that may come next."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import UnsupportedFormat
from reference.grammar.language.expressions import EMPTY_SET, Language
from reference.tokenizer.vocabulary import Vocabulary


@dataclass
class TokenTrie:
    """A trie of the tokens by their bytes: a prefix that several tokens share is tested once."""

    tokens: list[int] = field(default_factory=list)
    children: dict[int, "TokenTrie"] = field(default_factory=dict)


@lru_cache(4)
def token_trie(vocabulary: Vocabulary, *, strip_space: bool) -> TokenTrie:
    """Build the trie of the tokens that may be output. strip_space: for the first token of a text
    whose leading space is stripped.
    """
    root = TokenTrie()
    excluded = vocabulary.disallowed_token_ids | vocabulary.context_dependent_ids
    for token, piece in enumerate(vocabulary.first_pieces if strip_space else vocabulary.pieces):
        if token not in excluded:
            node = root
            for byte in piece:
                node = node.children.setdefault(byte, TokenTrie())
            node.tokens.append(token)
    return root


@lru_cache(4)
def cached_derivatives(language: Language) -> Derivatives:
    """Return the derivatives of a language, shared by all choices with that language."""
    return Derivatives(language)


class GrammarMatcher:
    """Matches the output of one choice against a language, token by token.

    end_tokens: ids that end the output and are not part of it. strip_space: whether the output's
    leading space is stripped by the detokenizer.
    """

    def __init__(
        self,
        language: Language,
        vocabulary: Vocabulary,
        end_tokens: frozenset[int],
        *,
        strip_space: bool,
    ) -> None:
        self.derivatives = cached_derivatives(language)
        self.state = language.start
        self.vocabulary = vocabulary
        self.end_tokens, self.strip_space = sorted(end_tokens), strip_space

    def allowed(self) -> Bool[np.ndarray, "V"]:
        """Return the mask of the tokens that may come next.

        Meaning:   a token is allowed if the output with its bytes is a prefix of a text of the
                   language; an end token is allowed if the output is itself in the language.
        Boundary:  tokens are bytes: a part of a character is allowed if the rest of it can follow.
        Off value: no language.
        Example:   after "a", only "b" continues the text "ab".
                   >>> from reference.grammar.response_format import compile_format
                   >>> language = compile_format({"type": "regex", "regex": "ab"})
                   >>> vocabulary = Vocabulary((b"</s>", b"a", b"b"), frozenset({0}))
                   >>> matcher = GrammarMatcher(
                   ...     language, vocabulary, frozenset({0}), strip_space=False
                   ... )
                   >>> matcher.push(1)
                   >>> matcher.allowed().tolist()
                   [False, False, True]

        Raises UnsupportedFormat if no token is allowed, because the vocabulary has no token for the
        required bytes; TooComplex if the state exceeds the size bounds.
        """
        allowed = np.zeros(len(self.vocabulary.pieces), dtype=np.bool_)
        # Walk the trie and the language together. Skip a branch that no text of the language has.
        pending = [(token_trie(self.vocabulary, strip_space=self.strip_space), self.state)]
        while pending:
            node, state = pending.pop()
            allowed[node.tokens] = True
            for byte, child in node.children.items():
                derivative = self.derivatives.derivative(state, byte)
                if derivative is not EMPTY_SET:
                    pending.append((child, derivative))
        allowed[self.end_tokens] = self.state.nullable
        if not allowed.any():
            raise UnsupportedFormat(
                "response_format: no token in the vocabulary can extend the output"
            )
        return allowed

    def push(self, token: int) -> None:
        """Advance by a token that is allowed and not an end token."""
        pieces = self.vocabulary.first_pieces if self.strip_space else self.vocabulary.pieces
        self.state = self.derivatives.advance(self.state, pieces[token])
        self.strip_space = False
