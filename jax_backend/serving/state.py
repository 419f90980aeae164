"""The arrays of a step: what the device keeps between steps, and what the host exchanges with it.

Shapes: W batch slots, B rows of a decode batch, G segments of T tokens of a prefill launch, M pages
of a sequence, V vocabulary, N top log-probabilities, K 32-bit words of a token mask.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from jax_backend.model import quantization
from jax_backend.model.attention.base import Pages
from jax_backend.model.llama import Llama
from jax_backend.sampler import Params, SamplingHistory

REPEAT_LAST = -1  # as an input token: the token that the slot sampled last


class SlotState(NamedTuple):
    """The sampling state of the sequences in the batch, one slot each.

    last_token: the token that was sampled last. logprobs: whether log-probabilities are requested.
    """

    params: Params
    history: SamplingHistory
    last_token: Int32[Array, "W"]
    prompt_length: Int32[Array, "W"]
    logprobs: Bool[Array, "W"]


class BatchInputs(NamedTuple):
    """A decode batch: each row is one input token of one sequence. Padding rows have slot W, which
    does not exist: their updates are dropped.
    """

    slot: Int32[Array, "B"]
    position: Int32[Array, "B"]
    token: Int32[Array, "B"]
    page_table: Int32[Array, "B M"]


class SegmentInputs(NamedTuple):
    """A prefill launch: G segments of T tokens, each of one prompt from position `start` on, padded
    from `num_tokens` on. Padding segments have no tokens.
    """

    token: Int32[Array, "G T"]
    next_token: Int32[Array, "G T"]
    start: Int32[Array, "G"]
    num_tokens: Int32[Array, "G"]
    page_table: Int32[Array, "G M"]


class TokenMask(NamedTuple):
    """The tokens that each constrained row may sample, one bit each, the lowest bit first."""

    constrained: Bool[Array, "B"]
    bits: Int32[Array, "B K"]


class SampleOutput(NamedTuple):
    """The sampled token of each row, its log-probabilities, and whether its logits were finite."""

    token: Int32[Array, "B"]
    finite: Bool[Array, "B"]
    logprob: Float32[Array, "B"]
    top: Float32[Array, "B N"]
    top_ids: Int32[Array, "B N"]


class PromptLogprobs(NamedTuple):
    """The log-probabilities of the token after each token of a prefill launch, R = G · T."""

    logprob: Float32[Array, "R"]
    top: Float32[Array, "R N"]
    top_ids: Int32[Array, "R N"]


def empty_slots(count: int, vocab_size: int) -> SlotState:
    """Return `count` unused slots."""

    def zeros(dtype: type, *shape: int) -> Array:
        return jnp.zeros((count, *shape), dtype)

    return SlotState(
        params=Params(
            repetition_penalty=zeros(np.float32),
            frequency_penalty=zeros(np.float32),
            presence_penalty=zeros(np.float32),
            temperature=zeros(np.float32),
            min_p=zeros(np.float32),
            top_k=zeros(np.int32),
            top_p=zeros(np.float32),
            seed=zeros(np.uint32, 2),
            choice=zeros(np.int32),
        ),
        history=SamplingHistory(
            allowed=zeros(np.bool_, vocab_size),
            present=zeros(np.bool_, vocab_size),
            counts=zeros(np.int32, vocab_size),
        ),
        last_token=zeros(np.int32),
        prompt_length=zeros(np.int32),
        logprobs=zeros(np.bool_),
    )


def empty_pages(model: Llama, num_pages: int, page_size: int) -> list[Pages]:
    """Return the KV cache of every layer: `num_pages` pages and the null page."""
    dtype = model.embed_tokens.get_value().dtype
    if model.config.kv_dtype is not None:
        dtype = quantization.DTYPES[model.config.kv_dtype]
    empty, count = model.attention.empty, num_pages + 1
    return [empty(model.config, count, page_size, dtype) for _ in model.layers]


@partial(jax.jit, donate_argnums=(0,))
def set_slot(slots: SlotState, slot: Int32[Array, ""], values: SlotState) -> SlotState:
    """Set up one slot. values: of that slot, without the axis W."""
    return jax.tree.map(lambda array, value: array.at[slot].set(value), slots, values)


@partial(jax.jit, donate_argnums=(0,))
def copy_page(
    layers: list[Pages], source: Int32[Array, ""], target: Int32[Array, ""]
) -> list[Pages]:
    """Copy one page of every layer."""
    return jax.tree.map(lambda pages: pages.at[target].set(pages[source]), layers)


@partial(jax.jit, donate_argnums=(0,))
def fill_page(layers: list[Pages], page: Int32[Array, ""]) -> list[Pages]:
    """Fill one page of every layer with arbitrary, fixed numbers."""

    def filled(pages: Array) -> Array:
        i = jnp.arange(pages[0].size, dtype=jnp.float32).reshape(pages.shape[1:])
        return pages.at[page].set(jnp.sin(i).astype(pages.dtype))

    return jax.tree.map(filled, layers)
