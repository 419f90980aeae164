"""The prefill computation: segments of prompts, and the image embeddings within them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from jax_backend import logprobs
from jax_backend.model.llama import ImageEmbeddings, Llama, TokenBlocks
from jax_backend.serving.state import PromptLogprobs, SegmentInputs


def segment_blocks(segments: SegmentInputs, images: ImageEmbeddings | None) -> TokenBlocks:
    """Return the tokens of a prefill launch. images: None for a text-only model."""
    i_xT = jnp.arange(segments.token.shape[1], dtype=jnp.int32)[None]
    is_valid = i_xT < segments.num_tokens[:, None]
    start_Gx = segments.start[:, None]
    position = jnp.where(is_valid, start_Gx + i_xT, start_Gx)
    return TokenBlocks(segments.token, position, is_valid, segments.page_table, images)


def prompt_logprobs(
    model: Llama, x_GTD: Float[Array, "G T D"], next_token: Int32[Array, "G T"], top: int
) -> PromptLogprobs:
    """Compute the log-probabilities of the token after each token of a prefill launch. x: of
    `Llama.hidden_states`. top: the number of top log-probabilities.
    """
    logits = model.logits(x_GTD.reshape(-1, x_GTD.shape[2]))
    return PromptLogprobs(*logprobs.token_logprobs(logits, next_token.reshape(-1), top))


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
