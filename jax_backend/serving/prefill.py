"""The prefill computation: one chunk of one prompt, and the image embeddings within it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from jax_backend import logprobs
from jax_backend.model.attention.base import Pages
from jax_backend.model.llama import ImageEmbeddings, Llama
from jax_backend.serving.state import ChunkInputs, PromptLogprobs


def prefill_chunk(
    model: Llama,
    layers: list[Pages],
    chunk: ChunkInputs,
    images: ImageEmbeddings | None,
    top: int | None,
) -> tuple[list[Pages], PromptLogprobs | None]:
    """Write the keys and values of a chunk to its pages. images: None for a text-only model. top:
    the number of top log-probabilities; None if the prompt's are not requested.
    """
    i = jnp.arange(chunk.token.shape[0], dtype=jnp.int32)
    is_valid = i < chunk.num_tokens
    is_new = is_valid & (i >= chunk.num_cached)
    positions = jnp.where(is_valid, chunk.start + i, chunk.start)
    x, layers = model.hidden_states(
        chunk.token[None], positions[None], is_new[None], chunk.page_table[None], layers, images
    )
    if top is None:
        return layers, None
    values = logprobs.token_logprobs(model.logits(x[0]), chunk.next_token, top)
    return layers, PromptLogprobs(*values)


def no_images(size: int, hidden_size: int, dtype: jnp.dtype) -> ImageEmbeddings:
    """Return the image embeddings of `size` positions without an image."""
    return ImageEmbeddings(jnp.zeros((size, hidden_size), dtype), jnp.zeros(size, jnp.bool_))


@jax.jit
def merge_embeddings(
    images: ImageEmbeddings,
    rows: Float[Array, "I D"],
    source: Int32[Array, ""],
    target: Int32[Array, ""],
    count: Int32[Array, ""],
) -> ImageEmbeddings:
    """Put `count` rows of an image's embeddings, from `source` on, at the positions from `target`
    on.
    """
    i = jnp.arange(len(images.mask), dtype=jnp.int32) - target
    is_target = (i >= 0) & (i < count)
    merged = rows[jnp.clip(i + source, 0, len(rows) - 1)]
    return ImageEmbeddings(
        jnp.where(is_target[:, None], merged, images.rows), images.mask | is_target
    )
