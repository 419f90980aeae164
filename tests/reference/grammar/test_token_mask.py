"""Masks, against what they mean: token by token, a text and the token's bytes."""

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.fixtures import format_corpus
from conformance.parity.format_strategies import (
    END,
    chance,
    response_format,
    vocabulary,
)
from reference.grammar.language.derivatives import Derivatives
from reference.grammar.language.expressions import NOTHING, Language
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.token_mask import Grammar
from reference.tokenizer.vocabulary import Vocabulary
from tests.support.hypothesis_budget import share

CASES = [case.response_format for case in format_corpus.schemas() + format_corpus.regexes()]
STEPS = 12


def literal(
    found: Derivatives, words: Vocabulary, ends: frozenset[int], text: bytes, first: bool
) -> list[bool]:
    """A token may come if the text with its bytes is the beginning of one; a token that ends the
    text, if the text is one.
    """
    allowed = []
    for token, piece in enumerate(words.pieces):
        if first and piece.startswith(b" "):
            piece = piece[1:]
        begun = found.after(found.language.start, text + piece) is not NOTHING
        allowed.append(begun and token not in words.never)
        if token in ends:
            allowed[token] = found.accepts(text)
    return allowed


def follow(rng: Random, language: Language, words: Vocabulary, ends: frozenset[int]) -> bytes:
    """Go on for some tokens, and look at each mask."""
    first = words.leading_space
    grammar, found, text = Grammar(language, words, ends, first=first), Derivatives(language), b""
    for step in range(STEPS):
        expected = literal(found, words, ends, text, first and step == 0)
        if not any(expected):
            with pytest.raises(UnsupportedFormat, match="no token of this vocabulary"):
                grammar.allowed()
            return text
        assert grammar.allowed().tolist() == expected
        going_on = [t for t in np.flatnonzero(expected).tolist() if t not in ends]
        if not going_on:
            return text
        token = rng.choice(going_on)
        grammar.push(token)
        piece = words.pieces[token]
        text += piece.removeprefix(b" ") if first and step == 0 else piece
    return text


@share(30)
@given(chance(), st.integers(0, 2**32))
def test_masks_are_what_they_mean(rng: Random, seed: int) -> None:
    asked: Any = rng.choice(CASES) if rng.random() < 0.5 else response_format(rng)
    try:
        language = compile_format(asked)
    except UnsupportedFormat:
        return
    assert language is not None
    words = vocabulary(rng)
    more = frozenset(i for i in range(len(words.pieces)) if rng.random() < 0.05)
    follow(Random(seed), language, words, more | {END})


def of_regex(pattern: str) -> Language:
    language = compile_format({"type": "regex", "regex": pattern})
    assert language is not None
    return language


def names(grammar: Grammar) -> set[str]:
    pieces = grammar.vocabulary.pieces
    return {f"{i}:{pieces[i].decode('latin-1')}" for i in np.flatnonzero(grammar.allowed())}


def words(*pieces: bytes, **more: Any) -> Vocabulary:
    return Vocabulary((b"", *pieces), frozenset({0}), **more)


def test_a_character_in_parts() -> None:
    """The whole, its bytes, two of them; and bytes of another that begins alike."""
    smile, frown = "😀".encode(), "😁".encode()
    pieces = words(smile, smile[:1], smile[:2], smile[2:], frown, frown[3:], smile[1:], b"\xff")
    grammar = Grammar(of_regex("😀{2}"), pieces, frozenset({0}), first=False)
    assert np.flatnonzero(grammar.allowed()).tolist() == [1, 2, 3]
    grammar.push(2)
    assert np.flatnonzero(grammar.allowed()).tolist() == [7]
    grammar.push(7)
    assert np.flatnonzero(grammar.allowed()).tolist() == [1, 2, 3]
    grammar.push(3)
    assert np.flatnonzero(grammar.allowed()).tolist() == [4]
    grammar.push(4)
    assert np.flatnonzero(grammar.allowed()).tolist() == [0]


def test_the_first_space_is_dropped_once() -> None:
    pieces = words(b" a", b"a", b"  a", b" ", leading_space=True)
    as_first = Grammar(of_regex(" ?aa"), pieces, frozenset({0}), first=True)
    assert names(as_first) == {"1: a", "2:a", "3:  a", "4: "}
    as_first.push(1)
    assert names(as_first) == {"2:a"}
    later = Grammar(of_regex(" ?aa"), pieces, frozenset({0}), first=False)
    assert names(later) == {"1: a", "2:a", "4: "}
    after_a_space = Grammar(of_regex("a"), pieces, frozenset({0}), first=True)
    after_a_space.push(4)
    assert names(after_a_space) == {"2:a"}


def test_pieces_that_are_there_twice_and_such_as_are_no_text() -> None:
    pieces = Vocabulary((b"a", b"a", b"a", b"ab", b"", b""), frozenset({2, 4, 5}))
    grammar = Grammar(of_regex("a|ab"), pieces, frozenset({4}), first=False)
    assert np.flatnonzero(grammar.allowed()).tolist() == [0, 1, 3]
    grammar.push(1)
    assert np.flatnonzero(grammar.allowed()).tolist() == [4]


def test_several_tokens_end_a_text() -> None:
    """Only where it may end; it may go on there as well."""
    pieces = Vocabulary((b"a", b"", b""), frozenset({1, 2}))
    grammar = Grammar(of_regex("(aa)*"), pieces, frozenset({1, 2}), first=False)
    assert grammar.allowed().tolist() == [True, True, True]
    grammar.push(0)
    assert grammar.allowed().tolist() == [True, False, False]


def test_a_token_that_ends_a_text_is_no_part_of_it() -> None:
    """Even if it has a text: it comes where the text may end, and only there."""
    grammar = Grammar(of_regex("aa?"), words(b"a", b"a"), frozenset({0, 2}), first=False)
    assert grammar.allowed().tolist() == [False, True, False]
    grammar.push(1)
    assert grammar.allowed().tolist() == [True, True, True]


def test_a_vocabulary_without_a_way_on() -> None:
    grammar = Grammar(of_regex("ab"), words(b"a"), frozenset({0}), first=False)
    grammar.push(1)
    with pytest.raises(UnsupportedFormat, match="no token of this vocabulary can come next"):
        grammar.allowed()


@share(20)
@given(chance())
def test_with_every_byte_there_is_always_a_way_on(rng: Random) -> None:
    """What has been begun can be gone on with, or is whole."""
    try:
        language = compile_format(response_format(rng))
    except UnsupportedFormat:
        return
    assert language is not None
    every_byte = words(*[bytes([i]) for i in range(256)])
    grammar = Grammar(language, every_byte, frozenset({0}), first=False)
    for _ in range(40):
        going_on = np.flatnonzero(grammar.allowed()[1:]) + 1
        if not going_on.size:
            return
        grammar.push(int(going_on[rng.randrange(len(going_on))]))
