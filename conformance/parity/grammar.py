"""The masks of a grammar, token by token, along a text that is made by chance."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from conformance.parity.format_strategies import END, response_formats, vocabularies
from conformance.parity.harness.property import Property, Tally
from conformance.parity.harness.tolerance import same
from jax_backend.grammar.token_mask import Grammars
from reference.grammar.response_format import UnsupportedFormat, compile_format
from reference.grammar.token_mask import Grammar
from reference.params import CompletionParams
from reference.request import Request
from reference.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class Walk:
    """picks: which of the tokens that may come is taken, step by step. fresh: whether a text begins
    here, so that its first space may not count. stop: a token that the request stops at.
    """

    vocabulary: Vocabulary
    response_format: dict[str, Any]
    picks: list[int]
    fresh: bool
    stop: int


@lru_cache(1)
def grammars(vocabulary: Vocabulary) -> Grammars:
    return Grammars(vocabulary, frozenset({END}))


def mask(walk: Walk, tally: Tally) -> None:
    """The reference and the backend say alike of every token whether it may come next."""
    stop = walk.stop % len(walk.vocabulary.pieces)
    asked = CompletionParams(response_format=walk.response_format, stop_token_ids=(stop,))
    try:
        language = compile_format(walk.response_format)
    except UnsupportedFormat:
        tally.counts["formats that were refused"] += 1
        return
    vocabulary = walk.vocabulary
    bos = [vocabulary.bos_id] if vocabulary.bos_id is not None else []
    prompt = tuple(bos) if walk.fresh and bos else (*bos, 2)
    request = Request(prompt=prompt, params=asked, seed=0, language=language)
    assert language is not None
    ends = frozenset({END}) | (frozenset(asked.stop_token_ids) & vocabulary.never)
    spec = Grammar(language, vocabulary, ends, first=vocabulary.strips_leading_space(prompt))
    text = grammars(vocabulary).begin(request)
    for pick in walk.picks:
        [found], [error] = grammars(vocabulary).masks([text])
        try:
            expected = spec.allowed()
        except UnsupportedFormat:
            assert error is not None
            tally.counts["texts with no way on"] += 1
            return
        assert error is None, error
        bits = np.unpackbits(found.view(np.uint8), bitorder="little")[: len(expected)]
        same(bits.astype(bool), expected, f"tokens after {spec.state}")
        tally.counts["masks"] += 1
        going_on = np.setdiff1d(np.flatnonzero(expected), spec.ends)
        if not len(going_on):
            return
        token = int(going_on[pick % len(going_on)])
        spec.push(token)
        text.push(token)


WALKS = st.builds(
    Walk,
    vocabularies(),
    response_formats(),
    st.lists(st.integers(0, 2**16), min_size=8, max_size=60),
    st.booleans(),
    st.integers(0, 2**16),
)
PROPERTIES = (Property("grammar/mask", WALKS, mask),)
