"""Mutants that report or sample the masked distribution wrongly."""

import numpy as np
from starlette.types import ASGIApp

from conformance.assertions.response_format import mask_after_truncation
from reference.bundle import Bundle
from reference.logits import Logits, mask
from reference.sampler import SamplingHistory, final_logits, gumbel_argmax, sample
from tests.conformance.mutants import mutant
from tests.conformance.mutants.response_format.helpers import with_format
from tests.conformance.mutations.engine import (
    with_engine_requests,
    with_logits_chain,
    with_params,
    with_sampler,
)


@mutant("response_format/unmasked-logprobs")
def masked_logprobs(model: Bundle) -> ASGIApp:
    """Report the log-probabilities after the token mask."""

    def sample_masked(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        logits[:] = mask(logits, history.allowed)
        return gumbel_argmax(final_logits(logits, history), noise)

    return with_format(model, with_sampler(model, sample_masked))


@mutant("response_format/greedy-matches-reference")
def longest_token_first(model: Bundle) -> ASGIApp:
    """Sample the longest token if few are allowed, as if the text were tokenized afterwards."""
    lengths = np.array([len(piece) for piece in model.vocabulary.pieces])

    def sample_longest(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        if history.allowed.sum() > 20:
            return sample(logits, history, noise)
        return int(np.argmax(np.where(history.allowed, lengths, -1)))

    return with_format(model, with_sampler(model, sample_longest))


@mutant("response_format/samples-within-mask")
def mask_last(model: Bundle) -> ASGIApp:
    """Apply the token mask after truncation, unless that leaves no token."""
    return with_logits_chain(model, mask_after_truncation)


@mutant("response_format/samples-within-mask")
def truncation_ignored(model: Bundle) -> ASGIApp:
    """Ignore top_p, top_k and min_p if there is a format."""
    return with_format(
        model, with_engine_requests(model, lambda r: with_params(r, top_p=1.0, top_k=0, min_p=0.0))
    )


@mutant("response_format/seeded-matches-reference")
def reversed_noise(model: Bundle) -> ASGIApp:
    """Assign the noise to the tokens in reverse order if there is a format."""

    def sample_reversed(logits: Logits, history: SamplingHistory, noise: Logits) -> int:
        return sample(logits, history, noise[::-1])

    return with_format(model, with_sampler(model, sample_reversed))
