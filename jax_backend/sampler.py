"""From logits to tokens, for B rows with separate parameters: the twin of `reference.sampler`.

`STEPS` is the same list. A step that no row needs is skipped (`jax_backend.numerics.branches`).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, UInt32

from jax_backend import logits as steps
from jax_backend.logits import Logits, PerRow
from jax_backend.numerics.branches import cond_any, cond_any_unless_gpu
from jax_backend.numerics.reductions import fixed_order_sum
from jax_backend.threefry import gumbel, random_bits, seed_key
from reference.params import CompletionParams


class Params(NamedTuple):
    """Sampling parameters of B rows; with NumPy scalars, of a single row."""

    repetition_penalty: PerRow
    frequency_penalty: PerRow
    presence_penalty: PerRow
    temperature: PerRow
    min_p: PerRow
    top_k: Int32[Array, "B"]
    top_p: PerRow
    seed: UInt32[Array, "B 2"]
    choice: Int32[Array, "B"]

    @classmethod
    def of(cls, params: CompletionParams, seed: int, choice: int) -> "Params":
        """Convert the parameters of one row, on the host."""
        greedy = params.temperature < steps.MIN_TEMPERATURE
        return cls(
            repetition_penalty=np.float32(params.repetition_penalty),
            frequency_penalty=np.float32(params.frequency_penalty),
            presence_penalty=np.float32(params.presence_penalty),
            temperature=np.float32(0 if greedy else params.temperature),
            min_p=np.float32(params.min_p),
            top_k=np.int32(min(params.top_k, np.iinfo(np.int32).max)),
            top_p=np.float32(params.top_p),
            seed=seed_key(seed),
            choice=np.int32(choice),
        )


class SamplingHistory(NamedTuple):
    """State of each row that the sampling steps depend on.

    allowed: the tokens that may be sampled next. present: the tokens that occur in prompt or
    output. counts: occurrences of each token in the output so far.
    """

    allowed: Bool[Array, "B V"]
    present: Bool[Array, "B V"]
    counts: Int32[Array, "B V"]


def always_active(params: Params) -> Bool[Array, "B"]:
    """Return True for every row."""
    return jnp.full_like(params.choice, True, dtype=jnp.bool_)


def is_random(params: Params) -> Bool[Array, "B"]:
    """Return whether each row is sampled. The temperature step leaves a greedy row one token."""
    return params.temperature > 0


def top_p_active(params: Params) -> Bool[Array, "B"]:
    """Return whether top_p can change each row."""
    return is_random(params) & (params.top_p < 1)


Step = Callable[[Logits, Params, SamplingHistory], Logits]
ConditionalStep = tuple[str, Step, Callable[[Params], Array]]

# (name, step, the rows that need it). The step does not change the other rows.
STEPS: tuple[ConditionalStep, ...] = (
    ("response_format", lambda x, p, h: steps.mask(x, h.allowed), always_active),
    (
        "repetition_penalty",
        lambda x, p, h: steps.repetition_penalty(x, h.present, p.repetition_penalty),
        lambda p: p.repetition_penalty != 1,
    ),
    (
        "frequency_penalty",
        lambda x, p, h: steps.frequency_penalty(x, h.counts, p.frequency_penalty),
        lambda p: p.frequency_penalty != 0,
    ),
    (
        "presence_penalty",
        lambda x, p, h: steps.presence_penalty(x, h.counts, p.presence_penalty),
        lambda p: p.presence_penalty != 0,
    ),
    ("temperature", lambda x, p, h: steps.temperature(x, p.temperature), always_active),
    (
        "min_p",
        lambda x, p, h: steps.min_p(x, p.min_p),
        lambda p: is_random(p) & (p.min_p > 0),
    ),
    (
        "top_k",
        lambda x, p, h: steps.top_k(x, p.top_k),
        lambda p: is_random(p) & (p.top_k > 0),
    ),
    ("top_p", lambda x, p, h: steps.top_p(x, p.top_p), top_p_active),
)

# The steps that search for a threshold, in many passes over the logits.
THRESHOLD_SEARCHES = ("top_k", "top_p")


def trace(
    logits: Logits,
    params: Params,
    history: SamplingHistory,
    conditional_steps: Sequence[ConditionalStep] = STEPS,
    threshold_search: bool | None = None,
) -> Iterator[tuple[str, Logits]]:
    """Yield the name of each step and the logits after it. threshold_search: see
    `jax_backend.numerics.branches.StaticFlags`.
    """
    for name, step, is_active in conditional_steps:
        apply, skip = partial(step, logits, params, history), partial(unchanged, logits)
        if name in THRESHOLD_SEARCHES:
            logits = cond_any(is_active(params), apply, skip, threshold_search)
        else:
            logits = cond_any_unless_gpu(is_active(params), apply, skip)
        yield name, logits


def unchanged(logits: Logits) -> Logits:
    """Return the logits: the branch of a step that is skipped."""
    return logits


def sample(
    logits: Logits,
    params: Params,
    history: SamplingHistory,
    positions: Int32[Array, "B"],
    threshold_search: bool | None = None,
) -> Int32[Array, "B"]:
    """Sample one token for each row. positions: tokens that each row has generated so far.
    threshold_search: see `jax_backend.numerics.branches.StaticFlags`.
    """
    gumbel_noise = noise(params, positions, logits.shape[1])
    if threshold_search is not None:
        *_, (_, kept) = trace(logits, params, history, STEPS, threshold_search)
        return gumbel_argmax(kept, gumbel_noise)
    # If the device decides, the last step and the argmax are fused: the number of passes of
    # `gumbel_argmax_in_nucleus` depends on the data, which a GPU could not branch on cheaply.
    *_, (_, truncated) = trace(logits, params, history, STEPS[:-1])
    return cond_any(
        top_p_active(params),
        lambda: gumbel_argmax_in_nucleus(truncated, gumbel_noise, params.top_p),
        lambda: gumbel_argmax(truncated, gumbel_noise),
    )


def noise(
    params: Params, positions: Int32[Array, "B"], vocab_size: int
) -> Float32[Array, "B {vocab_size}"]:
    """Return the Gumbel noise of one sampling step of each row. It does not affect a greedy row,
    which has a single token left.
    """
    return cond_any_unless_gpu(
        is_random(params),
        lambda: gumbel(random_bits(params.seed, params.choice, positions, vocab_size)),
        lambda: jnp.zeros((len(positions), vocab_size), jnp.float32),
    )


def gumbel_argmax(logits: Logits, noise: Float32[Array, "B V"]) -> Int32[Array, "B"]:
    """Sample from softmax(logits) by the Gumbel-max trick. Ties go to the lowest id."""
    return steps.argmax(logits + noise)


def gumbel_argmax_in_nucleus(
    logits: Logits, noise: Float32[Array, "B V"], mass: PerRow
) -> Int32[Array, "B"]:
    """Compute `gumbel_argmax(steps.top_p(logits, mass), noise)` in two or three passes over the
    logits instead of thirty.

    The token with the best score is the result if top_p keeps it, which is so if the mass of the
    more likely tokens is below the target. Otherwise top_p drops it and every token that is at most
    as likely, and the best of the remaining tokens is tried. A row of NaN ends at once: nothing in
    it exceeds the floor.
    """
    scores, weights = logits + noise, jnp.exp(logits)
    target = jnp.where(mass >= 1, jnp.inf, mass * fixed_order_sum(weights))

    # State of each row: the logit at or below which top_p drops everything, whether the row is
    # done, and the result so far.
    def attempt(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        floor, done, result = state
        token = steps.argmax(jnp.where(logits > floor[:, None], scores, steps.NEG_INF))
        level = jnp.take_along_axis(logits, token[:, None], axis=1)
        mass_above = fixed_order_sum(jnp.where(logits > level, weights, 0))
        # mass_above == 0: the most likely level is always kept, even if mass = 0.
        kept = (mass_above < target) | (mass_above == 0) | ~(level[:, 0] > floor)
        return (
            jnp.where(done, floor, level[:, 0]),
            done | kept,
            jnp.where(done, result, token),
        )

    start = (
        jnp.full(len(logits), steps.NEG_INF),
        jnp.zeros(len(logits), jnp.bool_),
        jnp.zeros(len(logits), jnp.int32),
    )
    return jax.lax.while_loop(lambda state: ~state[1].all(), attempt, start)[2]


def allowed_tokens(
    vocab_size: int, disallowed: frozenset[int], ends: frozenset[int]
) -> Bool[np.ndarray, "vocab_size"]:
    """Return the tokens that may be sampled: all but the `disallowed` ones, plus those in `ends`,
    which end a text.
    """
    allowed = np.ones(vocab_size, np.bool_)
    allowed[[token for token in disallowed - ends if token < vocab_size]] = False
    return allowed
