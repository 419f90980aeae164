"""One function per parameter that changes the logits: the twins of `reference.logits`, for B rows
that each have a value of their own.

What a parameter means is said there; here stands how it is computed without a sort, and for which
value a row is left exactly as it was.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from jax_backend.numerics.reductions import written_out
from jax_backend.numerics.top_k import largest
from jax_backend.platform import platform

Logits = Float32[Array, "B V"]
PerRow = Float32[Array, "B"]

NEG_INF = np.float32(-np.inf)
SMALLEST_TEMPERATURE = np.finfo(np.float32).tiny
FEW = 64  # of the largest logits, which are found faster one by one than by bisection
HIGHEST_BITS = np.int32(0x7F800000)  # those of +∞, the last of the ordered non-negative floats


def mask(logits: Logits, allowed: Bool[Array, "B V"]) -> Logits:
    return jnp.where(allowed, logits, NEG_INF)


def repetition_penalty(logits: Logits, seen: Bool[Array, "B V"], penalty: PerRow) -> Logits:
    penalty = penalty[:, None]
    penalised = jnp.where(logits > 0, logits / penalty, logits * penalty)
    return jnp.where(seen, penalised, logits)


def frequency_penalty(logits: Logits, counts: Int32[Array, "B V"], penalty: PerRow) -> Logits:
    return logits - penalty[:, None] * counts.astype(jnp.float32)


def presence_penalty(logits: Logits, counts: Int32[Array, "B V"], penalty: PerRow) -> Logits:
    return logits - penalty[:, None] * (counts > 0).astype(jnp.float32)


def temperature(logits: Logits, value: PerRow) -> Logits:
    """A value of 0 is greedy. The caller sends 0 for what is below `SMALLEST_TEMPERATURE`."""
    value = value[:, None]
    greedy = jnp.where(ids(logits) == likeliest(logits)[:, None], jnp.float32(0), NEG_INF)
    scaled = (logits - logits.max(axis=1, keepdims=True)) / jnp.where(value == 0, 1, value)
    return jnp.where(value == 0, greedy, scaled)


def likeliest(scores: Logits) -> Int32[Array, "B"]:
    """The highest score of each row, the lowest id on a tie. Two plain reductions, which a CPU does
    several at a time, where `jnp.argmax` is one that it does not.
    """
    highest = scores == scores.max(axis=1, keepdims=True)
    return jnp.where(highest, ids(scores), scores.shape[1] - 1).min(axis=1)


def ids(logits: Logits) -> Int32[Array, "1 V"]:
    return jnp.arange(logits.shape[1], dtype=jnp.int32)[None]


def min_p(logits: Logits, fraction: PerRow) -> Logits:
    return jnp.where(jnp.exp(logits) >= fraction[:, None], logits, NEG_INF)


def top_k(logits: Logits, k: Int32[Array, "B"], few: int = FEW) -> Logits:
    """The k-th largest logit is the highest that k tokens reach. k = 0, or V and more, is off.

    A CPU finds it among the `few` largest, if it is there for every row.
    """
    vocab_size = logits.shape[1]
    target = jnp.where((k <= 0) | (k > vocab_size), vocab_size, k)

    def searched() -> Logits:
        return keep_highest(logits, lambda kept: kept.sum(axis=1, dtype=jnp.int32), target)

    if platform() != "cpu" or vocab_size <= few:
        return searched()

    def picked() -> Logits:
        highest, _ = largest(logits, few)
        threshold = jnp.take_along_axis(highest, jnp.minimum(target, few)[:, None] - 1, axis=1)
        kept = (logits >= threshold) | (target == vocab_size)[:, None]
        return jnp.where(kept, logits, NEG_INF)

    return jax.lax.cond(((target <= few) | (target == vocab_size)).all(), picked, searched)


def top_p(logits: Logits, mass: PerRow) -> Logits:
    """The crossing level is the highest that reaches `mass` of the whole. 1 is off, exactly."""
    weights = jnp.exp(logits)

    def reached(kept: Bool[Array, "B V"]) -> Float32[Array, "B"]:
        return written_out(jnp.where(kept, weights, 0))

    target = mass * reached(jnp.ones_like(logits, dtype=jnp.bool_))
    return jnp.where(mass[:, None] >= 1, logits, keep_highest(logits, reached, target))


def keep_highest(
    logits: Logits, measure: Callable[[Bool[Array, "B V"]], Array], target: Array
) -> Logits:
    """Keep, in each row, the smallest set of the highest logits whose measure reaches the target.

    The threshold is found by bisection over the bits of −logit, which is never negative here: the
    order of such floats is the order of their bits, so 31 halvings end at the exact value. Ties
    stay or go together, and no sort is needed.
    """
    bits = jax.lax.bitcast_convert_type(jnp.abs(logits), jnp.int32)

    def halve(_: int, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = low + (high - low) // 2
        enough = measure(bits <= middle[:, None]) >= target
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    start = jnp.zeros(len(logits), jnp.int32), jnp.full(len(logits), HIGHEST_BITS)
    _, threshold = jax.lax.fori_loop(0, 31, halve, start)
    return jnp.where(bits <= threshold[:, None], logits, NEG_INF)
