"""Token masks of a grammar, step by step along a random output."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.format_strategies import EOS, response_formats, vocabularies
from conformance.parity.harness.property import Coverage, Property
from conformance.parity.harness.tolerance import assert_equal
from jax_backend.grammar.token_mask import GrammarCompiler
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.token_mask import GrammarMatcher
from reference.params import CompletionParams
from reference.request import Request
from reference.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class Walk:
    """A format, and the choices along one output.

    picks: the index of the allowed token that is taken at each step, modulo their number.
    empty_prompt: whether the output begins a text, whose leading space may be stripped. stop: the
    request's stop token.
    """

    vocabulary: Vocabulary
    response_format: dict[str, Any]
    picks: list[int]
    empty_prompt: bool
    stop: int


@lru_cache(1)
def compiler(vocabulary: Vocabulary) -> GrammarCompiler:
    """Return the backend's compiler for a vocabulary."""
    return GrammarCompiler(vocabulary, frozenset({EOS}))


def mask(walk: Walk, coverage: Coverage) -> None:
    """The reference and the backend allow the same tokens at every step."""
    vocabulary = walk.vocabulary
    stop = walk.stop % len(vocabulary.pieces)
    params = CompletionParams(response_format=walk.response_format, stop_token_ids=(stop,))
    try:
        language = compile_format(walk.response_format)
    except UnsupportedFormat:
        coverage.counts["formats that were refused"] += 1
        return
    bos = [vocabulary.bos_id] if vocabulary.bos_id is not None else []
    prompt = tuple(bos) if walk.empty_prompt and bos else (*bos, 2)
    request = Request(prompt=prompt, params=params, seed=0, language=language)
    assert language is not None
    end_tokens = frozenset({EOS}) | (
        frozenset(params.stop_token_ids) & vocabulary.disallowed_token_ids
    )
    strip_space = vocabulary.strips_leading_space(prompt)
    spec = GrammarMatcher(language, vocabulary, end_tokens, strip_space=strip_space)
    state = compiler(vocabulary).start(request)
    pushed: list[int] = []
    for pick in walk.picks:
        [words], [error] = compiler(vocabulary).token_masks([state])
        try:
            expected = spec.allowed()
        except UnsupportedFormat:
            assert error is not None
            coverage.counts["outputs that no token can extend"] += 1
            return
        assert error is None, error
        bits = np.unpackbits(words.view(np.uint8), bitorder="little")[: len(expected)]
        assert_equal(bits.astype(bool), expected, f"tokens after {pushed}")
        coverage.counts["masks"] += 1
        extending = np.setdiff1d(np.flatnonzero(expected), spec.end_tokens)
        if not len(extending):
            return
        token = int(extending[pick % len(extending)])
        spec.push(token)
        state.push(token)
        pushed.append(token)


WALKS = st.builds(
    Walk,
    vocabularies(),
    response_formats(),
    st.lists(st.integers(0, 2**16), min_size=8, max_size=60),
    st.booleans(),
    st.integers(0, 2**16),
)
PROPERTIES = (Property("grammar/mask", WALKS, mask),)
