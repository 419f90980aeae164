"""The state of a new sequence."""

from dataclasses import replace

import numpy as np
import pytest

from jax_backend.serving import uploads
from reference.bundle import Bundle
from reference.generate import initial_history
from reference.model.checkpoint import Checkpoint
from reference.params import CompletionParams
from reference.request import Request
from reference.tokenizer.added_tokens import AddedToken, AddedTokens
from reference.tokenizer.sentencepiece import SentencePieceTokenizer
from tests.support.tokenizer_files import SENTENCEPIECE


def with_added(checkpoint: Checkpoint, added: AddedTokens) -> Bundle:
    """The embedded model, with the roles of its padding and special tokens changed."""
    return Bundle.from_parts(checkpoint, SentencePieceTokenizer(SENTENCEPIECE, {}, added))


@pytest.mark.parametrize("stops", [(), (0,), (1535, 7)])
@pytest.mark.parametrize("eos", [(2,), (), (0, 1535)])
def test_backends_allow_the_same_tokens(
    model: Bundle, stops: tuple[int, ...], eos: tuple[int, ...]
) -> None:
    last = model.vocab_size - 1
    name = model.tokenizer.token_bytes(last).decode()
    added = {last: AddedToken(name, special=True), last + 1: AddedToken("<pad>", special=True)}
    checkpoint = replace(model.checkpoint, eos_token_ids=eos)
    padded = with_added(checkpoint, added)
    assert padded.disallowed_token_ids - model.disallowed_token_ids == {last}
    request = Request.of([1, 5], CompletionParams(stop_token_ids=stops))
    disallowed = padded.vocabulary.disallowed_token_ids
    twin = uploads.initial_history(request, padded.vocab_size, frozenset(eos), disallowed)
    allowed = initial_history(padded, request).allowed
    np.testing.assert_array_equal(np.asarray(twin.allowed), allowed)
    assert set(np.flatnonzero(~allowed)) == disallowed - set(eos) - set(stops)
