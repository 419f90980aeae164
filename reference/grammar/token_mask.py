"""`response_format`: which tokens may come next."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.errors import UnsupportedFormat
from reference.grammar.language.expressions import NOTHING, Language
from reference.tokenizer.vocabulary import Vocabulary


@dataclass
class Trie:
    """Tokens by their bytes: those that begin alike are looked at together."""

    tokens: list[int] = field(default_factory=list)
    children: dict[int, "Trie"] = field(default_factory=dict)


@lru_cache(4)
def trie(vocabulary: Vocabulary, *, first: bool) -> Trie:
    """Of the tokens that are text. first: as the first token of a text."""
    root = Trie()
    for token, piece in enumerate(vocabulary.first_pieces if first else vocabulary.pieces):
        if token not in vocabulary.never:
            node = root
            for byte in piece:
                node = node.children.setdefault(byte, Trie())
            node.tokens.append(token)
    return root


@lru_cache(4)
def derivatives(language: Language) -> Derivatives:
    """Those that one text has needed are there for the next."""
    return Derivatives(language)


class Grammar:
    """The text of one choice, as far as it has come.

    ends: the tokens that end it, and are no part of it. first: whether its first space is dropped.
    """

    def __init__(
        self, language: Language, vocabulary: Vocabulary, ends: frozenset[int], *, first: bool
    ) -> None:
        self.derivatives = derivatives(language)
        self.state = language.start
        self.vocabulary, self.ends, self.first = vocabulary, sorted(ends), first

    def allowed(self) -> Bool[np.ndarray, "V"]:
        """The tokens that may come next.

        Meaning:   a token may come if the text so far with the token's bytes is the beginning of a
                   text of the language; one that ends the text, if that is a text of the language.
        Boundary:  tokens are bytes: part of a character may come if the rest of it can.
        Off value: no language.

        Raises UnsupportedFormat if there is none: the text goes on in a way that this vocabulary
        has no token for; TooComplex if it takes more than the bounds allow to tell.
        """
        allowed = np.zeros(len(self.vocabulary.pieces), dtype=np.bool_)
        waiting = [(trie(self.vocabulary, first=self.first), self.state)]
        while waiting:
            node, state = waiting.pop()
            allowed[node.tokens] = True
            for byte, child in node.children.items():
                following = self.derivatives.derivative(state, byte)
                if following is not NOTHING:
                    waiting.append((child, following))
        allowed[self.ends] = self.state.nullable
        if not allowed.any():
            raise UnsupportedFormat("response_format: no token of this vocabulary can come next")
        return allowed

    def push(self, token: int) -> None:
        """Go on with a token that is allowed, and does not end the text."""
        pieces = self.vocabulary.first_pieces if self.first else self.vocabulary.pieces
        self.state = self.derivatives.after(self.state, pieces[token])
        self.first = False
