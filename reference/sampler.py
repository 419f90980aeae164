"""From logits to a token. `STEPS` is the specification: what happens, in this order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from reference import logits as l
from reference.logits import Logits
from reference.params import CompletionParams


@dataclass(frozen=True, kw_only=True)
class SamplingHistory:
    """What one choice looks back on when it draws its next token.

    allowed: the tokens that may come next. seen: those of prompt or output. counts: how often each
    token stands in the output so far.
    """

    params: CompletionParams
    allowed: Bool[np.ndarray, "V"]
    seen: Bool[np.ndarray, "V"]
    counts: Int64[np.ndarray, "V"]


Step = Callable[[Logits, SamplingHistory], Logits]

STEPS: tuple[tuple[str, Step], ...] = (
    ("response_format", lambda x, h: l.mask(x, h.allowed)),
    (
        "repetition_penalty",
        lambda x, h: l.repetition_penalty(x, h.seen, h.params.repetition_penalty),
    ),
    (
        "frequency_penalty",
        lambda x, h: l.frequency_penalty(x, h.counts, h.params.frequency_penalty),
    ),
    ("presence_penalty", lambda x, h: l.presence_penalty(x, h.counts, h.params.presence_penalty)),
    ("temperature", lambda x, h: l.temperature(x, h.params.temperature)),
    ("min_p", lambda x, h: l.min_p(x, h.params.min_p)),
    ("top_k", lambda x, h: l.top_k(x, h.params.top_k)),
    ("top_p", lambda x, h: l.top_p(x, h.params.top_p)),
)


def trace(logits: Logits, history: SamplingHistory) -> Iterator[tuple[str, Logits]]:
    """The logits after each step, with the step's name."""
    for name, step in STEPS:
        logits = step(logits, history)
        yield name, logits


def final_logits(logits: Logits, history: SamplingHistory) -> Logits:
    """The logits after the last step: those that a token is drawn from."""
    *_, (_, last) = trace(logits, history)
    return last


def choose(logits: Logits, noise: Float32[np.ndarray, "V"]) -> int:
    """Draw from softmax(logits) by the Gumbel-max trick; of equal scores the lowest id wins.

    Source: Gumbel 1954; Maddison, Tarlow and Minka 2014, "A* sampling", section 2.
    """
    return int(np.argmax(logits + noise))


def sample(logits: Logits, history: SamplingHistory, noise: Float32[np.ndarray, "V"]) -> int:
    """One decoding step. Raises ValueError if the model's logits are not finite."""
    if not np.isfinite(logits).all():
        raise ValueError("the model's logits are not finite")
    return choose(final_logits(logits, history), noise)


def allowed_tokens(
    vocab_size: int, never: frozenset[int], ends: frozenset[int]
) -> Bool[np.ndarray, "vocab_size"]:
    """The tokens that may be sampled: all that are text, and those that end the text.

    never: special tokens, ids without a text, placeholders. ends: end-of-sequence and the request's
    stop_token_ids, which stay possible even where they are special: asking to stop at a token must
    not make it unreachable.
    """
    allowed = np.ones(vocab_size, dtype=np.bool_)
    allowed[[i for i in never - ends if i < vocab_size]] = False
    return allowed
