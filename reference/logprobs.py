"""The reported log-probabilities: the model's own, before any parameter changes the logits."""

import numpy as np
from jaxtyping import Float32

from reference.logits import Logits
from reference.request import TokenLogprobs


def log_softmax(logits: Float32[np.ndarray, "*B V"]) -> Float32[np.ndarray, "*B V"]:
    """Compute the natural logarithms of the model's probabilities, in float32."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def token_logprobs(logits: Logits, token: int, top: int) -> TokenLogprobs:
    """Return the log-probability of the sampled token, and those of the `top` most likely tokens.

    Meaning:   log_softmax of the model's logits: before response_format, penalties, temperature and
               truncation.
    Boundary:  the sampled token always has an entry: there are `top` entries if it is among the
               `top` most likely tokens, else one more. `top` = 0 lists the sampled token only;
               `top` ≥ V lists all.
    Ties:      equal log-probabilities are ranked by id, the lowest first.
    Off value: null; 0 is not off.
    Source:    OpenAI's API reference (`logprobs` of completions), made exact.
    Example:   p = (.25, .25, .5); token 1 is sampled, which ranks third.
               >>> result = token_logprobs(np.log(np.float32([0.25, 0.25, 0.5])), token=1, top=2)
               >>> [(token, round(float(np.exp(value)), 2)) for token, value in result.top]
               [(2, 0.5), (0, 0.25), (1, 0.25)]
    """
    values = log_softmax(logits)
    top_ids = np.argsort(-values, kind="stable")[:top]
    ids = top_ids if token in top_ids else np.append(top_ids, token)
    return TokenLogprobs(
        token, float(values[token]), tuple((int(i), float(values[i])) for i in ids)
    )
