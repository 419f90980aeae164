"""From logits to a token. `STEPS` is the specification: these steps, in this order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from reference import logits as steps
from reference.logits import Logits
from reference.params import CompletionParams


@dataclass(frozen=True, kw_only=True)
class SamplingHistory:
    """State of one choice that the sampling steps depend on.

    allowed: the tokens that may be sampled next. present: the tokens that occur in prompt or
    output. counts: occurrences of each token in the output so far.
    """

    params: CompletionParams
    allowed: Bool[np.ndarray, "V"]
    present: Bool[np.ndarray, "V"]
    counts: Int64[np.ndarray, "V"]


Step = Callable[[Logits, SamplingHistory], Logits]

STEPS: tuple[tuple[str, Step], ...] = (
    ("response_format", lambda x, h: steps.mask(x, h.allowed)),
    (
        "repetition_penalty",
        lambda x, h: steps.repetition_penalty(x, h.present, h.params.repetition_penalty),
    ),
    (
        "frequency_penalty",
        lambda x, h: steps.frequency_penalty(x, h.counts, h.params.frequency_penalty),
    ),
    (
        "presence_penalty",
        lambda x, h: steps.presence_penalty(x, h.counts, h.params.presence_penalty),
    ),
    ("temperature", lambda x, h: steps.temperature(x, h.params.temperature)),
    ("min_p", lambda x, h: steps.min_p(x, h.params.min_p)),
    ("top_k", lambda x, h: steps.top_k(x, h.params.top_k)),
    ("top_p", lambda x, h: steps.top_p(x, h.params.top_p)),
)


def trace(logits: Logits, history: SamplingHistory) -> Iterator[tuple[str, Logits]]:
    """Yield the name of each step and the logits after it."""
    for name, step in STEPS:
        logits = step(logits, history)
        yield name, logits


def final_logits(logits: Logits, history: SamplingHistory) -> Logits:
    """Return the logits after the last step, from which the token is sampled."""
    *_, (_, last) = trace(logits, history)
    return last


def gumbel_argmax(logits: Logits, noise: Float32[np.ndarray, "V"]) -> int:
    """Sample from softmax(logits) by the Gumbel-max trick. Ties go to the lowest id.

    Source: Gumbel 1954; Maddison, Tarlow and Minka 2014, "A* sampling", section 2.
    """
    return int(np.argmax(logits + noise))


def sample(logits: Logits, history: SamplingHistory, noise: Float32[np.ndarray, "V"]) -> int:
    """Apply the steps and sample a token. Raises ValueError if the logits are not finite."""
    if not np.isfinite(logits).all():
        raise ValueError("the model's logits are not finite")
    return gumbel_argmax(final_logits(logits, history), noise)


def allowed_tokens(
    vocab_size: int, disallowed_token_ids: frozenset[int], end_token_ids: frozenset[int]
) -> Bool[np.ndarray, "vocab_size"]:
    """Return the mask of tokens that may be sampled: text tokens, and those that end the output.

    disallowed_token_ids: special tokens, ids without text, image placeholders. end_token_ids:
    end-of-sequence and the request's stop_token_ids. They are allowed even if they are special:
    a stop token must remain reachable.
    """
    allowed = np.ones(vocab_size, dtype=np.bool_)
    allowed[[i for i in disallowed_token_ids - end_token_ids if i < vocab_size]] = False
    return allowed
