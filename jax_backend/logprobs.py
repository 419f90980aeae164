"""The reported log-probabilities, for B rows: the twin of `reference.logprobs`."""

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from jax_backend.numerics.reductions import sum_rows
from jax_backend.numerics.top_k import top_k_values


def log_softmax(logits: Float32[Array, "B V"]) -> Float32[Array, "B V"]:
    """Compute the natural logarithms of the model's probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - jnp.log(sum_rows(jnp.exp(shifted)))[:, None]


def token_logprobs(
    logits: Float32[Array, "B V"], tokens: Int32[Array, "B"], top: int
) -> tuple[Float32[Array, "B"], Float32[Array, "B {top}"], Int32[Array, "B {top}"]]:
    """Return the log-probabilities of the tokens, and the `top` highest of each row with their ids,
    the lowest id first on a tie.
    """
    values = log_softmax(logits)
    highest, ids = top_k_values(values, top)
    return jnp.take_along_axis(values, tokens[:, None], axis=1)[:, 0], highest, ids
