"""What is reported as a log-probability: the twin of `reference.logprobs`, for B rows."""

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from jax_backend.numerics.reductions import row_sum
from jax_backend.numerics.top_k import largest


def log_softmax(logits: Float32[Array, "B V"]) -> Float32[Array, "B V"]:
    """Natural logarithms of the model's probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - jnp.log(row_sum(jnp.exp(shifted)))[:, None]


def token_logprobs(
    logits: Float32[Array, "B V"], tokens: Int32[Array, "B"], top: int
) -> tuple[Float32[Array, "B"], Float32[Array, "B top"], Int32[Array, "B top"]]:
    """The tokens' log-probabilities, and each row's `top` highest with ids, the lowest id first
    on a tie.
    """
    values = log_softmax(logits)
    highest, ids = largest(values, top)
    return jnp.take_along_axis(values, tokens[:, None], axis=1)[:, 0], highest, ids
