"""What the device computes: looking at images, reading a chunk of a prompt, one decoding step for a
batch of rows, and the small changes between them. Every function here is compiled once for each
shape it is given, and everything that differs from request to request is an array (but for what a
GPU is told, `jax_backend.numerics.branches`).

A slot keeps, on the device, what belongs to one choice. A row of a batch is one choice that feeds
one token; a row that only fills the batch up has a slot beyond the last, whose changes are dropped.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import PyTreeDef
from jaxtyping import Array, Bool, Float, Float32, Int32

from jax_backend import logprobs
from jax_backend.logits import Logits
from jax_backend.model.attention.cpu import Pages
from jax_backend.model.llama import Given, Llama
from jax_backend.numerics.branches import Told, if_asked, if_asked_or_free
from jax_backend.sampler import Params, SamplingHistory, sample


class Slots(NamedTuple):
    """W slots. token: the one that was drawn last. prompt: the number of tokens of the prompt."""

    params: Params
    history: SamplingHistory
    token: Int32[Array, "W"]
    prompt: Int32[Array, "W"]
    reports: Bool[Array, "W"]


class Rows(NamedTuple):
    """A batch, as the host sends it. token: −1 stands for the one that the slot has drawn last."""

    slot: Int32[Array, "B"]
    position: Int32[Array, "B"]
    token: Int32[Array, "B"]
    table: Int32[Array, "B M"]


class Mask(NamedTuple):
    """Which tokens a row may draw, if it asks: a bit for each, the lowest first."""

    asked: Bool[Array, "B"]
    bits: Int32[Array, "B C"]


class Drawn(NamedTuple):
    """What comes back: a token for each row, whether its logits were finite, and its report."""

    token: Int32[Array, "B"]
    finite: Bool[Array, "B"]
    logprob: Float32[Array, "B"]
    top: Float32[Array, "B N"]
    top_ids: Int32[Array, "B N"]


class Reports(NamedTuple):
    """The log-probability of each token that follows a token of a chunk."""

    logprob: Float32[Array, "C"]
    top: Float32[Array, "C N"]
    top_ids: Int32[Array, "C N"]


def empty_slots(count: int, vocab_size: int) -> Slots:
    """Slots of which none is in use."""

    def zeros(dtype: type, *shape: int) -> Array:
        return jnp.zeros((count, *shape), dtype)

    numbers = dict.fromkeys(
        (
            "repetition_penalty",
            "frequency_penalty",
            "presence_penalty",
            "temperature",
            "min_p",
            "top_p",
        ),
        np.float32,
    )
    return Slots(
        params=Params(
            **{name: zeros(kind) for name, kind in numbers.items()},
            top_k=zeros(np.int32),
            seed=zeros(np.uint32, 2),
            choice=zeros(np.int32),
        ),
        history=SamplingHistory(
            allowed=zeros(np.bool_, vocab_size),
            seen=zeros(np.bool_, vocab_size),
            counts=zeros(np.int32, vocab_size),
        ),
        token=zeros(np.int32),
        prompt=zeros(np.int32),
        reports=zeros(np.bool_),
    )


def empty_pages(model: Llama, count: int, size: int) -> list[Pages]:
    """`count` pages of `size` positions, and page 0, for every layer."""
    dtype = model.embed_tokens.get_value().dtype
    return [model.attention.empty(model.config, count + 1, size, dtype) for _ in model.layers]


@partial(jax.jit, donate_argnums=(0,))
def admit(slots: Slots, slot: Int32[Array, ""], content: Slots) -> Slots:
    """Put a choice into a slot. content: one slot's values."""
    return jax.tree.map(lambda all, one: all.at[slot].set(one), slots, content)


@partial(jax.jit, donate_argnums=(0,))
def copy_page(
    layers: list[Pages], source: Int32[Array, ""], target: Int32[Array, ""]
) -> list[Pages]:
    """Copy one page of every layer."""
    return jax.tree.map(lambda pages: pages.at[target].set(pages[source]), layers)


@partial(jax.jit, donate_argnums=(0,))
def fill_page(layers: list[Pages], page: Int32[Array, ""]) -> list[Pages]:
    """Made-up numbers in one page of every layer."""

    def filled(pages: Array) -> Array:
        i = jnp.arange(pages[0].size, dtype=jnp.float32).reshape(pages.shape[1:])
        return pages.at[page].set(jnp.sin(i).astype(pages.dtype))

    return jax.tree.map(filled, layers)


def nothing_given(size: int, width: int, dtype: jnp.dtype) -> Given:
    """No image in any of `size` places."""
    return Given(jnp.zeros((size, width), dtype), jnp.zeros(size, jnp.bool_))


@jax.jit
def give(
    given: Given,
    rows: Float[Array, "I D"],
    source: Int32[Array, ""],
    target: Int32[Array, ""],
    count: Int32[Array, ""],
) -> Given:
    """Put `count` rows of an image, from `source` on, into the places from `target` on."""
    i = jnp.arange(len(given.here), dtype=jnp.int32) - target
    mine = (i >= 0) & (i < count)
    found = rows[jnp.clip(i + source, 0, len(rows) - 1)]
    return Given(jnp.where(mine[:, None], found, given.rows), given.here | mine)


def read(
    model: Llama, layers: list[Pages], chunk: "Chunk", given: Given | None, top: int | None
) -> tuple[list[Pages], Reports | None]:
    """Read a chunk of one prompt into its pages. given: the rows of images in it; None for a model
    that has no eyes. top: None if its log-probabilities are not asked for.
    """
    i = jnp.arange(chunk.token.shape[0], dtype=jnp.int32)
    real = i < chunk.count
    written = real & (i >= chunk.skip)
    positions = jnp.where(real, chunk.start + i, chunk.start)
    x, layers = model.hidden_states(
        chunk.token[None], positions[None], written[None], chunk.table[None], layers, given
    )
    if top is None:
        return layers, None
    return layers, Reports(*logprobs.token_logprobs(model.logits(x[0]), chunk.following, top))


class Chunk(NamedTuple):
    """Tokens of one prompt at start, start + 1, …; `count` of them are real, and the first `skip`
    of those are in the pages already. following: the token after each.
    """

    token: Int32[Array, "C"]
    following: Int32[Array, "C"]
    start: Int32[Array, ""]
    skip: Int32[Array, ""]
    count: Int32[Array, ""]
    table: Int32[Array, "M"]


def feed(
    model: Llama, layers: list[Pages], last: Int32[Array, "W"], rows: Rows, given: Given | None
) -> tuple[list[Pages], Logits]:
    """The first half of a decoding step: each row feeds a token. last: what each slot has drawn.
    given: for prompts that end with an image.
    """
    real = rows.slot < len(last)
    x, layers = model.hidden_states(
        fed(last, rows)[:, None], rows.position[:, None], real[:, None], rows.table, layers, given
    )
    return layers, model.logits(x[:, 0])


def fed(last: Int32[Array, "W"], rows: Rows) -> Int32[Array, "B"]:
    return jnp.where(rows.token < 0, last[rows.slot], rows.token)


@partial(jax.jit, static_argnums=(4, 5), donate_argnums=(0,))
def draw(
    slots: Slots, rows: Rows, logits: Logits, mask: Mask, top: int, told: Told
) -> tuple[Slots, Drawn]:
    """The second half: each row draws the next token. The mask may come when the first half is
    under way. top: the most likeliest tokens that a report may list. told: of the rows.
    """
    mine: Slots = jax.tree.map(lambda all: all[rows.slot], slots._replace(history=None))
    real = rows.slot < len(slots.token)
    is_output = (rows.position >= mine.prompt) & real
    history = remember(slots.history, rows.slot, fed(slots.token, rows), is_output)
    drawn = sample(
        logits,
        asking_nothing(mine.params, ~real),
        narrowed(jax.tree.map(lambda all: all[rows.slot], history), mask),
        rows.position + 1 - mine.prompt,
        told.searches,
    )
    report = if_asked(
        mine.reports & real,
        # apart, so that it rounds alike whatever else there is
        lambda: logprobs.token_logprobs(jax.lax.optimization_barrier(logits), drawn, top),
        lambda: (
            jnp.zeros(len(drawn), jnp.float32),
            jnp.zeros((len(drawn), top), jnp.float32),
            jnp.zeros((len(drawn), top), jnp.int32),
        ),
        told.reports,
    )
    slots = slots._replace(history=history, token=slots.token.at[rows.slot].set(drawn, mode="drop"))
    return slots, Drawn(drawn, jnp.isfinite(logits).all(axis=1), *report)


def narrowed(history: SamplingHistory, mask: Mask) -> SamplingHistory:
    """What the masks leave of what is allowed; as it was, if no row has one."""

    def unpacked() -> Bool[Array, "B V"]:
        bits = mask.bits[:, :, None] >> jnp.arange(32, dtype=jnp.int32)[None, None] & 1
        allowed = bits.reshape(len(bits), -1)[:, : history.allowed.shape[1]] == 1
        return history.allowed & (allowed | ~mask.asked[:, None])

    allowed = if_asked_or_free(mask.asked, unpacked, lambda: history.allowed)
    return history._replace(allowed=allowed)


def asking_nothing(params: Params, rows: Bool[Array, "B"]) -> Params:
    """The parameters, with `rows` greedy and without penalties, so that they ask for no step of the
    sampler. What a row beyond the last slot seems to ask for is what somebody left in that one.
    """
    nothing = {
        "temperature": 0,
        "repetition_penalty": 1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
    }
    changed = {name: jnp.where(rows, off, getattr(params, name)) for name, off in nothing.items()}
    return params._replace(**changed)


def remember(
    history: SamplingHistory,
    slot: Int32[Array, "B"],
    token: Int32[Array, "B"],
    is_output: Bool[Array, "B"],
) -> SamplingHistory:
    """Count the tokens that are fed, those of the output: the prompt was there when the slot was
    set up.
    """
    slot = jnp.where(is_output, slot, len(history.seen))
    return history._replace(
        seen=history.seen.at[slot, token].set(True, mode="drop"),
        counts=history.counts.at[slot, token].add(1, mode="drop"),
    )


class Program(NamedTuple):
    """`look`, `read` and `feed`, compiled for one kind of model. They take its weights as a list.

    look: the rows of each image of a batch of pixels.
    """

    look: Callable[..., tuple[Array, ...]]
    read: Callable[..., tuple[list[Pages], Reports | None]]
    feed: Callable[..., tuple[list[Pages], Logits]]


@cache
def program(graph: nnx.GraphDef[Llama], structure: PyTreeDef) -> Program:
    """What a model is, besides its weights, is bound here once: to tell one from another takes
    longer than to enqueue a step.
    """

    def model(weights: list[Array]) -> Llama:
        return nnx.merge(graph, jax.tree.unflatten(structure, weights))

    @jax.jit
    def compiled_look(weights: list[Array], pixels_B3SS: Float32[Array, "B 3 S S"]):
        vision = model(weights).vision
        assert vision is not None
        return tuple(vision.features(pixels_B3SS))

    @partial(jax.jit, static_argnums=4, donate_argnums=1)
    def compiled_read(
        weights: list[Array],
        layers: list[Pages],
        chunk: Chunk,
        given: Given | None,
        top: int | None,
    ):
        return read(model(weights), layers, chunk, given, top)

    @partial(jax.jit, donate_argnums=1)
    def compiled_feed(
        weights: list[Array],
        layers: list[Pages],
        last: Int32[Array, "W"],
        rows: Rows,
        given: Given | None,
    ):
        return feed(model(weights), layers, last, rows, given)

    return Program(compiled_look, compiled_read, compiled_feed)
