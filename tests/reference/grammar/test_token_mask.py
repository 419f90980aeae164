"""Token masks, compared with their definition, token by token."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.fixtures import format_corpus
from conformance.parity.format_strategies import (
    EOS,
    randoms,
    response_format,
)
from conformance.parity.format_strategies import (
    vocabulary as random_vocabulary,
)
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import EMPTY_SET, Language
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.token_mask import GrammarMatcher
from reference.tokenizer.vocabulary import Vocabulary
from tests.support.hypothesis_budget import example_budget

CASES = [case.response_format for case in format_corpus.schemas() + format_corpus.regexes()]
STEPS = 12


def expected_mask(
    derivatives: Derivatives,
    vocabulary: Vocabulary,
    end_tokens: frozenset[int],
    text: bytes,
    strip_space: bool,
) -> list[bool]:
    """Compute a mask by its definition: a token is allowed if the text with its bytes is a prefix
    of a text of the language, an end token if the text is in the language.
    """
    allowed = []
    excluded = vocabulary.disallowed_token_ids | vocabulary.context_dependent_ids
    for token, piece in enumerate(vocabulary.pieces):
        if strip_space and piece.startswith(b" "):
            piece = piece[1:]
        is_prefix = derivatives.advance(derivatives.language.start, text + piece) is not EMPTY_SET
        allowed.append(is_prefix and token not in excluded)
        if token in end_tokens:
            allowed[token] = derivatives.accepts(text)
    return allowed


def follow(
    rng: Random, language: Language, vocabulary: Vocabulary, end_tokens: frozenset[int]
) -> bytes:
    """Take some random steps, and check each mask. Return the text."""
    strip_space = vocabulary.leading_space
    grammar = GrammarMatcher(language, vocabulary, end_tokens, strip_space=strip_space)
    derivatives, text = Derivatives(language), b""
    for step in range(STEPS):
        expected = expected_mask(
            derivatives, vocabulary, end_tokens, text, strip_space and step == 0
        )
        if not any(expected):
            with pytest.raises(UnsupportedFormat, match="no token in the vocabulary"):
                grammar.allowed()
            return text
        assert grammar.allowed().tolist() == expected
        extending = [t for t in np.flatnonzero(expected).tolist() if t not in end_tokens]
        if not extending:
            return text
        token = rng.choice(extending)
        grammar.push(token)
        piece = vocabulary.pieces[token]
        text += piece.removeprefix(b" ") if strip_space and step == 0 else piece
    return text


@example_budget(30)
@given(randoms(), st.integers(0, 2**32))
def test_masks_equal_their_definition(rng: Random, seed: int) -> None:
    format: Any = rng.choice(CASES) if rng.random() < 0.5 else response_format(rng)
    try:
        language = compile_format(format)
    except UnsupportedFormat:
        return
    assert language is not None
    vocabulary = random_vocabulary(rng)
    extra = frozenset(i for i in range(len(vocabulary.pieces)) if rng.random() < 0.05)
    follow(Random(seed), language, vocabulary, extra | {EOS})


def of_regex(pattern: str) -> Language:
    language = compile_format({"type": "regex", "regex": pattern})
    assert language is not None
    return language


def allowed_names(grammar: GrammarMatcher) -> set[str]:
    pieces = grammar.vocabulary.pieces
    return {f"{i}:{pieces[i].decode('latin-1')}" for i in np.flatnonzero(grammar.allowed())}


def make_vocabulary(*pieces: bytes, **fields: Any) -> Vocabulary:
    return Vocabulary((b"", *pieces), frozenset({0}), **fields)


def test_character_split_across_tokens() -> None:
    """Tokens with all bytes of a character, some of them, and some of a similar character."""
    smile, frown = "😀".encode(), "😁".encode()
    pieces = make_vocabulary(
        smile, smile[:1], smile[:2], smile[2:], frown, frown[3:], smile[1:], b"\xff"
    )
    grammar = GrammarMatcher(of_regex("😀{2}"), pieces, frozenset({0}), strip_space=False)
    assert np.flatnonzero(grammar.allowed()).tolist() == [1, 2, 3]
    grammar.push(2)
    assert np.flatnonzero(grammar.allowed()).tolist() == [7]
    grammar.push(7)
    assert np.flatnonzero(grammar.allowed()).tolist() == [1, 2, 3]
    grammar.push(3)
    assert np.flatnonzero(grammar.allowed()).tolist() == [4]
    grammar.push(4)
    assert np.flatnonzero(grammar.allowed()).tolist() == [0]


def test_leading_space_is_stripped_once() -> None:
    pieces = make_vocabulary(b" a", b"a", b"  a", b" ", leading_space=True)
    as_first = GrammarMatcher(of_regex(" ?aa"), pieces, frozenset({0}), strip_space=True)
    assert allowed_names(as_first) == {"1: a", "2:a", "3:  a", "4: "}
    as_first.push(1)
    assert allowed_names(as_first) == {"2:a"}
    later = GrammarMatcher(of_regex(" ?aa"), pieces, frozenset({0}), strip_space=False)
    assert allowed_names(later) == {"1: a", "2:a", "4: "}
    after_space = GrammarMatcher(of_regex("a"), pieces, frozenset({0}), strip_space=True)
    after_space.push(4)
    assert allowed_names(after_space) == {"2:a"}


def test_duplicate_and_disallowed_tokens() -> None:
    pieces = Vocabulary((b"a", b"a", b"a", b"ab", b"", b""), frozenset({2, 4, 5}))
    grammar = GrammarMatcher(of_regex("a|ab"), pieces, frozenset({4}), strip_space=False)
    assert np.flatnonzero(grammar.allowed()).tolist() == [0, 1, 3]
    grammar.push(1)
    assert np.flatnonzero(grammar.allowed()).tolist() == [4]


def test_several_end_tokens() -> None:
    """They are allowed where the text may end, even if it may also continue."""
    pieces = Vocabulary((b"a", b"", b""), frozenset({1, 2}))
    grammar = GrammarMatcher(of_regex("(aa)*"), pieces, frozenset({1, 2}), strip_space=False)
    assert grammar.allowed().tolist() == [True, True, True]
    grammar.push(0)
    assert grammar.allowed().tolist() == [True, False, False]


def test_end_token_adds_no_text() -> None:
    """Its bytes are ignored: it is allowed where the text may end, and only there."""
    grammar = GrammarMatcher(
        of_regex("aa?"), make_vocabulary(b"a", b"a"), frozenset({0, 2}), strip_space=False
    )
    assert grammar.allowed().tolist() == [False, True, False]
    grammar.push(1)
    assert grammar.allowed().tolist() == [True, True, True]


def test_vocabulary_that_cannot_extend_the_text() -> None:
    grammar = GrammarMatcher(
        of_regex("ab"), make_vocabulary(b"a"), frozenset({0}), strip_space=False
    )
    grammar.push(1)
    with pytest.raises(UnsupportedFormat, match="no token in the vocabulary can extend the output"):
        grammar.allowed()


@example_budget(20)
@given(randoms())
def test_byte_vocabulary_has_no_dead_ends(rng: Random) -> None:
    """Every prefix can be extended or is complete."""
    try:
        language = compile_format(response_format(rng))
    except UnsupportedFormat:
        return
    assert language is not None
    every_byte = make_vocabulary(*[bytes([i]) for i in range(256)])
    grammar = GrammarMatcher(language, every_byte, frozenset({0}), strip_space=False)
    for _ in range(40):
        extending = np.flatnonzero(grammar.allowed()[1:]) + 1
        if not extending.size:
            return
        grammar.push(int(extending[rng.randrange(len(extending))]))
