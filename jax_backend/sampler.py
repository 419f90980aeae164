"""From logits to tokens, for B rows that each have parameters of their own: the twin of
`reference.sampler`. `STEPS` is the same list; what no row asks for is skipped, as
`jax_backend.numerics.branches` tells.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, UInt32

from jax_backend import logits as l
from jax_backend.logits import Logits, PerRow
from jax_backend.numerics.branches import if_asked, if_asked_or_free
from jax_backend.numerics.reductions import written_out
from jax_backend.threefry import gumbel, random_bits, seed_key
from reference.params import CompletionParams


class Params(NamedTuple):
    """What B rows ask for. With NumPy arrays of no dimension it is what one row asks for."""

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
        """One row, on the host."""
        warm = params.temperature >= l.SMALLEST_TEMPERATURE
        return cls(
            repetition_penalty=np.float32(params.repetition_penalty),
            frequency_penalty=np.float32(params.frequency_penalty),
            presence_penalty=np.float32(params.presence_penalty),
            temperature=np.float32(params.temperature if warm else 0),
            min_p=np.float32(params.min_p),
            top_k=np.int32(min(params.top_k, np.iinfo(np.int32).max)),
            top_p=np.float32(params.top_p),
            seed=seed_key(seed),
            choice=np.int32(choice),
        )


class SamplingHistory(NamedTuple):
    """What each row looks back on. allowed: what may come next. seen: what stands in prompt or
    output. counts: how often a token stands in the output so far.
    """

    allowed: Bool[Array, "B V"]
    seen: Bool[Array, "B V"]
    counts: Int32[Array, "B V"]


Step = Callable[[Logits, Params, SamplingHistory], Logits]
Asked = Callable[[Params], Array]
AskedStep = tuple[str, Step, Asked]

# (name, step, which rows ask for it). A row that does not ask is not changed by the step.
STEPS: tuple[AskedStep, ...] = (
    (
        "response_format",
        lambda x, p, h: l.mask(x, h.allowed),
        lambda p: jnp.full_like(p.choice, True, dtype=jnp.bool_),
    ),
    (
        "repetition_penalty",
        lambda x, p, h: l.repetition_penalty(x, h.seen, p.repetition_penalty),
        lambda p: p.repetition_penalty != 1,
    ),
    (
        "frequency_penalty",
        lambda x, p, h: l.frequency_penalty(x, h.counts, p.frequency_penalty),
        lambda p: p.frequency_penalty != 0,
    ),
    (
        "presence_penalty",
        lambda x, p, h: l.presence_penalty(x, h.counts, p.presence_penalty),
        lambda p: p.presence_penalty != 0,
    ),
    (
        "temperature",
        lambda x, p, h: l.temperature(x, p.temperature),
        lambda p: jnp.full_like(p.choice, True, dtype=jnp.bool_),
    ),
    ("min_p", lambda x, p, h: l.min_p(x, p.min_p), lambda p: warm(p) & (p.min_p > 0)),
    ("top_k", lambda x, p, h: l.top_k(x, p.top_k), lambda p: warm(p) & (p.top_k > 0)),
    ("top_p", lambda x, p, h: l.top_p(x, p.top_p), lambda p: asks_for_top_p(p)),
)

# Those that look for a threshold, in many passes.
SEARCHES = ("top_k", "top_p")


def warm(params: Params) -> Bool[Array, "B"]:
    """The rows that draw. A greedy row has one token left when temperature has been applied."""
    return params.temperature > 0


def asks_for_top_p(params: Params) -> Bool[Array, "B"]:
    return warm(params) & (params.top_p < 1)


def trace(
    logits: Logits,
    params: Params,
    history: SamplingHistory,
    steps: Sequence[AskedStep] = STEPS,
    searches: bool | None = None,
) -> Iterator[tuple[str, Logits]]:
    """The logits after each step, with the step's name. searches: see
    `jax_backend.numerics.branches.Told`.
    """
    for name, step, asked in steps:
        step_taken, not_taken = partial(step, logits, params, history), partial(same, logits)
        if name in SEARCHES:
            logits = if_asked(asked(params), step_taken, not_taken, searches)
        else:
            logits = if_asked_or_free(asked(params), step_taken, not_taken)
        yield name, logits


def same(logits: Logits) -> Logits:
    return logits


def sample(
    logits: Logits,
    params: Params,
    history: SamplingHistory,
    positions: Int32[Array, "B"],
    searches: bool | None = None,
) -> Int32[Array, "B"]:
    """One token for each row. positions: how many tokens each row has generated so far. searches:
    see `jax_backend.numerics.branches.Told`. Where the device finds out for itself, the last step
    and the choice are one, `choose_in_nucleus`: how often that tries depends on what it finds.
    """
    drawn = noise(params, positions, logits.shape[1])
    if searches is not None:
        *_, (_, kept) = trace(logits, params, history, STEPS, searches)
        return choose(kept, drawn)
    *_, (_, truncated) = trace(logits, params, history, STEPS[:-1])
    return if_asked(
        asks_for_top_p(params),
        lambda: choose_in_nucleus(truncated, drawn, params.top_p),
        lambda: choose(truncated, drawn),
    )


def noise(
    params: Params, positions: Int32[Array, "B"], vocab_size: int
) -> Float32[Array, "B {vocab_size}"]:
    """The Gumbel noise of one draw of each row. It is nothing to a greedy one, which has one token
    left.
    """
    return if_asked_or_free(
        warm(params),
        lambda: gumbel(random_bits(params.seed, params.choice, positions, vocab_size)),
        lambda: jnp.zeros((len(positions), vocab_size), jnp.float32),
    )


def choose(logits: Logits, noise: Float32[Array, "B V"]) -> Int32[Array, "B"]:
    """The Gumbel-max trick; of equal scores the lowest id wins."""
    return l.likeliest(logits + noise)


def choose_in_nucleus(
    logits: Logits, noise: Float32[Array, "B V"], mass: PerRow
) -> Int32[Array, "B"]:
    """`choose(l.top_p(logits, mass), noise)`, in two or three passes instead of thirty.

    The best score of all tokens is the choice if its token is kept: if the likelier ones do not
    reach `mass` without it. If they do, nothing is kept that is as likely or less, and the best of
    the rest is tried. (A row that is not a number ends at once: it has nothing above its floor.)
    """
    scores, weights = logits + noise, jnp.exp(logits)
    target = jnp.where(mass >= 1, jnp.inf, mass * written_out(weights))

    def attempt(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        floor, settled, chosen = state
        token = l.likeliest(jnp.where(logits > floor[:, None], scores, l.NEG_INF))
        level = jnp.take_along_axis(logits, token[:, None], axis=1)
        likelier = written_out(jnp.where(logits > level, weights, 0))
        kept = (likelier < target) | (likelier == 0) | ~(level[:, 0] > floor)
        return (
            jnp.where(settled, floor, level[:, 0]),
            settled | kept,
            jnp.where(settled, chosen, token),
        )

    start = (
        jnp.full(len(logits), l.NEG_INF),
        jnp.zeros(len(logits), jnp.bool_),
        jnp.zeros(len(logits), jnp.int32),
    )
    return jax.lax.while_loop(lambda state: ~state[1].all(), attempt, start)[2]
