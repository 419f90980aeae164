"""The steps of the sampler for B rows with separate parameters: the twins of `reference.logits`.

The parameters are explained there. The docstrings here say how a step is computed without a sort,
and for which value it leaves a row exactly as it was.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from jax_backend.numerics.reductions import fixed_order_sum
from jax_backend.numerics.top_k import top_k_values
from jax_backend.platform import platform

Logits = Float32[Array, "B V"]
PerRow = Float32[Array, "B"]

NEG_INF = np.float32(-np.inf)
MIN_TEMPERATURE = np.finfo(np.float32).tiny
MAX_DIRECT_K = 64  # up to this k, partial selection is faster than bisection
INFINITY_BITS = np.int32(0x7F800000)  # of +∞, the largest of the non-negative floats


def mask(logits: Logits, allowed: Bool[Array, "B V"]) -> Logits:
    """Keep only the allowed tokens."""
    return jnp.where(allowed, logits, NEG_INF)


def repetition_penalty(logits: Logits, present: Bool[Array, "B V"], penalty: PerRow) -> Logits:
    """Penalize the tokens of prompt and output. 1 is off."""
    penalty = penalty[:, None]
    penalized = jnp.where(logits > 0, logits / penalty, logits * penalty)
    return jnp.where(present, penalized, logits)


def frequency_penalty(logits: Logits, counts: Int32[Array, "B V"], penalty: PerRow) -> Logits:
    """Subtract the penalty once for each occurrence in the output. 0 is off."""
    return logits - penalty[:, None] * counts.astype(jnp.float32)


def presence_penalty(logits: Logits, counts: Int32[Array, "B V"], penalty: PerRow) -> Logits:
    """Subtract the penalty once from each token of the output. 0 is off."""
    return logits - penalty[:, None] * (counts > 0).astype(jnp.float32)


def temperature(logits: Logits, value: PerRow) -> Logits:
    """Divide by the temperature, relative to the maximum; 0 is greedy. The caller passes 0 for
    values below `MIN_TEMPERATURE`.
    """
    value = value[:, None]
    greedy = jnp.where(token_ids(logits) == argmax(logits)[:, None], jnp.float32(0), NEG_INF)
    scaled = (logits - logits.max(axis=1, keepdims=True)) / jnp.where(value == 0, 1, value)
    return jnp.where(value == 0, greedy, scaled)


def argmax(scores: Logits) -> Int32[Array, "B"]:
    """Return the id of the highest score of each row, the lowest id on a tie. It is two plain
    reductions, which XLA vectorizes on a CPU; `jnp.argmax` is not vectorized.
    """
    highest = scores == scores.max(axis=1, keepdims=True)
    return jnp.where(highest, token_ids(scores), scores.shape[1] - 1).min(axis=1)


def token_ids(logits: Logits) -> Int32[Array, "1 V"]:
    """Return the ids 0 … V − 1, to be broadcast over rows."""
    return jnp.arange(logits.shape[1], dtype=jnp.int32)[None]


def min_p(logits: Logits, fraction: PerRow) -> Logits:
    """Keep the tokens with at least `fraction` of the highest probability. 0 is off."""
    return jnp.where(jnp.exp(logits) >= fraction[:, None], logits, NEG_INF)


def top_k(logits: Logits, k: Int32[Array, "B"], max_direct: int = MAX_DIRECT_K) -> Logits:
    """Keep the tokens that reach the k-th largest logit. k = 0 and k ≥ V are off.

    A CPU selects the `max_direct` largest logits directly, if that is enough for every row.
    """
    vocab_size = logits.shape[1]
    target = jnp.where((k <= 0) | (k > vocab_size), vocab_size, k)

    def search() -> Logits:
        return keep_above_threshold(logits, lambda kept: kept.sum(axis=1, dtype=jnp.int32), target)

    if platform() != "cpu" or vocab_size <= max_direct:
        return search()

    def select() -> Logits:
        highest, _ = top_k_values(logits, max_direct)
        threshold = jnp.take_along_axis(
            highest, jnp.minimum(target, max_direct)[:, None] - 1, axis=1
        )
        kept = (logits >= threshold) | (target == vocab_size)[:, None]
        return jnp.where(kept, logits, NEG_INF)

    enough = (target <= max_direct) | (target == vocab_size)
    return jax.lax.cond(enough.all(), select, search)


def top_p(logits: Logits, mass: PerRow) -> Logits:
    """Keep the most likely tokens up to the one at which their sum reaches `mass` of the total. 1
    is off, exactly.
    """
    weights = jnp.exp(logits)

    def kept_mass(kept: Bool[Array, "B V"]) -> Float32[Array, "B"]:
        return fixed_order_sum(jnp.where(kept, weights, 0))

    target = mass * kept_mass(jnp.ones_like(logits, dtype=jnp.bool_))
    return jnp.where(mass[:, None] >= 1, logits, keep_above_threshold(logits, kept_mass, target))


def keep_above_threshold(
    logits: Logits, measure: Callable[[Bool[Array, "B V"]], Array], target: Array
) -> Logits:
    """Keep, in each row, the smallest set of the highest logits whose measure reaches the target.

    This is a bisection over the bits of −logit, which is not negative here. Such floats have the
    order of their bits, so 31 halvings arrive at the exact threshold. Ties are kept or dropped
    together, and no sort is needed.
    """
    bits = jax.lax.bitcast_convert_type(jnp.abs(logits), jnp.int32)

    # Invariant: the threshold is in [low, high].
    def halve(_: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = low + (high - low) // 2
        enough = measure(bits <= middle[:, None]) >= target
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    start = jnp.zeros(len(logits), jnp.int32), jnp.full(len(logits), INFINITY_BITS)
    _, threshold = jax.lax.fori_loop(0, 31, halve, start)
    return jnp.where(bits <= threshold[:, None], logits, NEG_INF)
