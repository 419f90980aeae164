"""What is reported as a log-probability: the model's own, before anything a request does to it."""

import numpy as np
from jaxtyping import Float32

from reference.logits import Logits
from reference.request import TokenLogprobs


def log_softmax(logits: Float32[np.ndarray, "*B V"]) -> Float32[np.ndarray, "*B V"]:
    """Natural logarithms of the model's probabilities, in float32."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def token_logprobs(logits: Logits, token: int, top: int) -> TokenLogprobs:
    """The chosen token's log-probability and those of the likeliest tokens.

    Meaning:   log_softmax of the model's logits: before response_format, penalties, temperature and
               truncation.
    Boundary:  `top` entries if the token is among the `top` likeliest, else one more: the token
               always has one. With `top` = 0 it has the only one. `top` ≥ V lists all.
    Ties:      equal log-probabilities are ranked by id, the lowest first.
    Off value: null; 0 is not off.
    Source:    OpenAI's API reference (`logprobs` of completions), made exact.
    """
    values = log_softmax(logits)
    likeliest = np.argsort(-values, kind="stable")[:top]
    ids = likeliest if token in likeliest else np.append(likeliest, token)
    return TokenLogprobs(
        token, float(values[token]), tuple((int(i), float(values[i])) for i in ids)
    )
