"""Long and deeply nested grammars in llguidance's notation: the masks are the reference's."""

import string
from typing import Any

import numpy as np
import pytest

from conformance.fixtures.format_corpus import json_schema_format
from conformance.parity.harness.requests import RequestSpec
from jax_backend.grammar.lark import to_lark
from jax_backend.grammar.token_mask import GrammarCompiler
from reference.grammar.language.expressions import EMPTY_SET
from reference.grammar.response_format import compile_format
from reference.grammar.token_mask import GrammarMatcher
from reference.tokenizer.vocabulary import Vocabulary

EOS = frozenset({0})
BYTES = Vocabulary((b"</s>", *(bytes([i]) for i in range(256))), EOS)


def follow(response_format: Any, text: str, every: int = 1) -> str:
    """Compare both masks along a text, until a byte of it is masked. Return the bytes before it,
    and a period if the text may end there.

    every: the distance of the bytes at which masks are compared. They also are at both ends, and
    where a byte of the text is masked.
    """
    language = compile_format(response_format)
    assert language is not None
    spec = GrammarMatcher(language, BYTES, EOS, strip_space=False)
    compiler = GrammarCompiler(BYTES, EOS)
    state = compiler.start(
        RequestSpec([5], {"seed": 0, "response_format": response_format}).request
    )
    followed = ""
    while True:
        position = len(followed)
        if position % every and 3 < position < len(text) - 3 and can_follow(spec, text[position]):
            spec.push(ord(text[position]) + 1)
            state.push(ord(text[position]) + 1)
            followed += text[position]
            continue
        [words], [error] = compiler.token_masks([state])
        assert error is None, error
        expected = spec.allowed()
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")[: len(expected)]
        assert bits.tolist() == expected.tolist(), followed
        token = ord(text[len(followed)]) + 1 if len(followed) < len(text) else 0
        if not token or not expected[token]:
            return followed + "." * bool(expected[0])
        spec.push(token)
        state.push(token)
        followed += text[len(followed)]


def can_follow(spec: GrammarMatcher, character: str) -> bool:
    return spec.derivatives.derivative(spec.state, ord(character)) is not EMPTY_SET


def number(exponent: int) -> int | float:
    """A power of ten as a schema contains it."""
    return 10**exponent if exponent >= 0 else float(f"1e{exponent}")


KEYWORDS = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"]


@pytest.mark.parametrize("kind", ["integer", "number"])
@pytest.mark.parametrize("keyword", KEYWORDS)
@pytest.mark.parametrize("exponent", [-99, -40, 22, 100, 199])
@pytest.mark.parametrize("sign", [1, -1])
def test_long_bounds(kind: str, keyword: str, exponent: int, sign: int) -> None:
    schema = {"type": kind, keyword: sign * number(exponent)}
    minus = "-" * (sign < 0)
    digits = f"1{'0' * exponent}" if exponent >= 0 else f"0.{'0' * (-exponent - 1)}1"
    for text in minus + digits, minus + digits[:-1] + "9", minus + digits.replace("0", "9"):
        follow(json_schema_format(schema), text + ".5", every=29)


def test_two_long_bounds() -> None:
    for kind in "integer", "number":
        schema = {"type": kind, "minimum": -(10**199), "maximum": 10**150}
        longest = "8" * 150
        assert follow(json_schema_format(schema), longest + "8", every=29) == longest + "."
        text = "-" + "8" * 200
        assert follow(json_schema_format(schema), text, every=29) == text[:-1] + "."


GROUPS = [("(?:a{}|b)", 48), ("(?:{}a|b)+", 24), ("(?:(?:a|b{})?c)*", 16), ("(?:[ab]{}x?|c)?", 24)]


@pytest.mark.parametrize(("body", "depth"), GROUPS)
def test_deeply_nested_groups(body: str, depth: int) -> None:
    """As deep as a pattern may be nested."""
    pattern = "z"
    for _ in range(depth):
        pattern = body.format(pattern)
    for text in "ab", "z", "aaaz", "azaaac":
        follow({"type": "regex", "regex": pattern}, text)


@pytest.mark.parametrize("step", [7, 60, 97, 0.125, 2.5])
def test_multiples(step: float) -> None:
    schema = {"type": "number", "multipleOf": step, "minimum": -5 * step}
    for factor in 1, -3, 100, 12345:
        text = f"{factor * step:.10g}"
        assert follow(json_schema_format(schema), text).startswith(text[: 1 if factor == 1 else 4])
    follow(json_schema_format(schema), "1234567.125")


def test_grammar_is_linear_in_the_number_of_properties() -> None:
    lengths = []
    for count in (100, 400):
        properties = {f"p{i:03}": {"type": "null"} for i in range(count)}
        language = compile_format(json_schema_format({"type": "object", "properties": properties}))
        assert language is not None
        lengths.append(len(to_lark(language)))
    assert lengths[1] < 5 * lengths[0]


def long_values(count: int) -> list[str]:
    """Different texts of 180 characters, of which the first differ in the last character only."""
    same = ["x" * 179 + letter for letter in "ab"]
    return same + [f"{i:03}".ljust(180, "y") for i in range(count - 2)]


def test_grammar_is_linear_in_the_number_of_long_values() -> None:
    lengths = []
    for count in (100, 500):
        language = compile_format(json_schema_format({"enum": long_values(count)}))
        assert language is not None
        lengths.append(len(to_lark(language)))
    assert 4 * lengths[0] < lengths[1] < 6 * lengths[0]
    assert lengths[1] < 2 * 500 * 180


def test_many_long_values_are_within_the_bounds() -> None:
    """llguidance compiles the grammar, and masks are right where values share a prefix."""
    values = long_values(500)
    schema = json_schema_format({"enum": values})
    assert follow(schema, f'"{values[1]}"', every=99) == f'"{values[1]}".'


def test_many_alternatives_in_one_position() -> None:
    """More items in a row of the Earley table than llguidance allows by default."""
    names = [*string.ascii_lowercase[:22]]
    branches = [
        {"anyOf": [{"type": "object", "properties": {prefix + n: True}} for n in names]}
        for prefix in "xy"
    ]
    # The reference takes seconds for each of these masks; here llguidance must not fail.
    compiler = GrammarCompiler(BYTES, EOS)
    spec = RequestSpec([5], {"seed": 0, "response_format": json_schema_format({"allOf": branches})})
    state = compiler.start(spec.request)
    for token in [ord(c) + 1 for c in '{"xa": 1, "yb": 2, "a": 3}'] + [0]:
        [words], [error] = compiler.token_masks([state])
        assert error is None, error
        assert np.unpackbits(words.view(np.uint8), bitorder="little")[token]
        if token:
            state.push(token)
